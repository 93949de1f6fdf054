import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { type Context, defineCommand } from '../command.ts';
import { printError } from '../errors.ts';
import { boolean, text, usageError } from '../flags.ts';
import { compileTemplate } from '../format/template.ts';
import { unescapeFormat } from '../format/template-lexer.ts';

type Kind = 'container' | 'image' | 'network' | 'volume';

/** In the order in which a bare name is looked up. */
const routes: Record<Kind, (name: string) => string> = {
  container: (name) => route`/containers/${name}/json`,
  image: (name) => route`/images/${name}/json`,
  network: (name) => route`/networks/${name}`,
  volume: (name) => route`/volumes/${name}`,
};

const formatFlag = text('json, or a Go template such as "{{.State.Status}}"', { short: 'f', value: 'FORMAT' });
const verboseFlag = boolean('As Docker’s: there is no swarm to tell more of', { short: 'v' });
const sizeFlag = boolean('Sizes of containers too', { short: 's' });

export const inspect = defineCommand({
  args: '<NAME|ID...>',
  summary: 'Show everything about containers, images, networks or volumes',
  examples: [
    ["inspect -f '{{.State.ExitCode}}' web", 'one field'],
    ["inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web", 'its addresses'],
  ],
  flags: { format: formatFlag, size: sizeFlag, type: text('container, image, network or volume', { value: 'KIND' }) },
  run: (context, flags, names) => {
    if (flags.type !== undefined && flags.type !== '' && !Object.hasOwn(routes, flags.type)) {
      throw usageError(`invalid argument "${flags.type}" for --type`, `Kinds are ${Object.keys(routes).join(', ')}.`);
    }
    const kinds = flags.type ? [flags.type as Kind] : (Object.keys(routes) as Kind[]);
    return show(context, kinds, names, flags);
  },
});

export const containerInspect = inspectOne('container', 'CONTAINER');
export const imageInspect = inspectOne('image', 'IMAGE');
export const networkInspect = inspectOne('network', 'NETWORK');
export const volumeInspect = inspectOne('volume', 'VOLUME');

function inspectOne(kind: Kind, name: string) {
  return defineCommand({
    args: `<${name}...>`,
    summary: `Show everything about ${kind}s`,
    flags: {
      format: formatFlag,
      ...(kind === 'container' ? { size: sizeFlag } : {}),
      ...(kind === 'network' ? { verbose: verboseFlag } : {}),
    },
    run: (context, flags, names) => show(context, [kind], names, flags),
  });
}

/** What was found is printed even when another name was not; the exit status tells. */
async function show(
  context: Context,
  kinds: readonly Kind[],
  names: readonly string[],
  flags: { format?: string | undefined; size?: boolean | undefined },
): Promise<number> {
  const render =
    flags.format === undefined || flags.format === 'json' || flags.format === ''
      ? undefined
      : compileTemplate(unescapeFormat(flags.format), { strict: false });
  const found: unknown[] = [];
  let status = 0;
  for (const name of names) {
    try {
      found.push(await find(context, kinds, name, flags.size));
    } catch (error) {
      if (error instanceof EngineError && error.code.startsWith('DAEMON_')) throw error;
      printError(context.output, error);
      status = 1;
    }
  }
  if (render !== undefined) for (const object of found) context.output.line(render(object));
  else context.output.line(JSON.stringify(found, null, flags.format === 'json' ? undefined : 4));
  return status;
}

async function find({ client }: Context, kinds: readonly Kind[], name: string, size: boolean | undefined): Promise<unknown> {
  for (const kind of kinds) {
    try {
      return await client.get(routes[kind](name), kind === 'container' && size ? { size: 1 } : undefined);
    } catch (error) {
      const missing = error instanceof EngineError && (error.kind === 'NotFound' || (kinds.length > 1 && error.kind === 'InvalidArgument'));
      if (!missing || kinds.length === 1) throw error;
    }
  }
  throw new EngineError('NotFound', 'NO_SUCH_OBJECT', `no container, image, network or volume is called ${name}`, {
    hint: 'See "slipway ps -a", "slipway images", "slipway network ls" and "slipway volume ls".',
  });
}
