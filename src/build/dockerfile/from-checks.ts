import { EngineError } from '../../base/errors.ts';
import type { Platform } from '../../oci/image.ts';
import { hostPlatform, parsePlatform } from '../../oci/platform.ts';
import { parseReference } from '../../oci/reference.ts';
import type { Checks } from './checks.ts';
import { type Expansion, ExpansionError, expand } from './expand.ts';
import { type Globals, globalArguments } from './globals.ts';
import type { Dockerfile, FromInstruction } from './syntax.ts';

/** Whether every FROM names something when nobody gives build arguments. */
export function checkDefaultBases(file: Dockerfile, checks: Checks): void {
  let defaults: Globals;
  try {
    defaults = globalArguments(file, { buildArgs: {} });
  } catch (error) {
    // The build itself says so in a moment, unless an argument mends it.
    if (error instanceof EngineError) return;
    throw error;
  }
  for (const { from } of file.stages) {
    try {
      parseReference(expand(from.base, defaults.variables, { escape: file.escape }).text);
    } catch (error) {
      if (error instanceof ExpansionError) return;
      if (!(error instanceof EngineError)) throw error;
      const message = `Default value for ARG ${from.base} results in empty or invalid base image name`;
      checks.forInstruction(from.comments).report('InvalidDefaultArgInFrom', from.location, message);
    }
  }
}

/** The checks of `FROM --platform`, whose words have been replaced. */
export function checkPlatformFlag(from: FromInstruction, expanded: Expansion, globals: Globals, checks: Checks): void {
  const written = from.platform ?? '';
  if (/^\$(TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(written) && expanded.text === globals.variables.get('TARGETPLATFORM')) {
    const message = `Setting platform to predefined ${written} in FROM is redundant as this is the default behavior`;
    checks.report('RedundantTargetPlatform', from.location, message);
  }
  if (written.includes('$')) return;
  try {
    const { os, architecture } = parsePlatform(expanded.text);
    if (from.name?.includes(os) || from.name?.includes(architecture)) return;
  } catch (error) {
    // A platform that is none is an error elsewhere.
    if (error instanceof EngineError) return;
    throw error;
  }
  checks.report('FromPlatformFlagConstDisallowed', from.location, `FROM --platform flag should not use constant value "${expanded.text}"`);
}

/** An image for another machine than the one that is built for. */
export function checkImagePlatform(
  from: FromInstruction,
  name: string,
  image: { os?: string | undefined; architecture?: string | undefined },
  checks: Checks,
  expected: Platform = hostPlatform(),
): void {
  const { os = expected.os, architecture = expected.architecture } = image;
  if (os === expected.os && architecture === expected.architecture) return;
  const message = `Base image ${name} was pulled with platform "${os}/${architecture}", expected "${expected.os}/${expected.architecture}" for current build`;
  checks.report('InvalidBaseImagePlatform', from.location, message);
}
