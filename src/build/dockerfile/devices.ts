import type { RunOperation } from '../graph/vertex.ts';
import type { Location, Source } from './source.ts';

export type StepDevice = NonNullable<RunOperation['devices']>[number];

/** `RUN --device=vendor.example/class=name[,required]` (BuildKit frontend/dockerfile/instructions/commands_rundevice.go). */
export function parseDevice(source: Source, text: string, location: Location): StepDevice {
  let name: string | undefined;
  let required = false;
  for (const field of text.split(',')) {
    const [, key, value] = /^(name|required)(?:=(.*))?$/.exec(field) ?? [];
    if (key === 'required') {
      if (value !== undefined && value !== 'true' && value !== 'false')
        throw source.invalid('FLAG_INVALID', location, `invalid value for 'required': ${value}`);
      required = value !== 'false';
    } else if (name === undefined) name = key === 'name' ? value : field;
    else throw source.invalid('FLAG_INVALID', location, `unexpected key '${field}' in '${text}'`);
  }
  if (name !== undefined && /^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+(=[A-Za-z0-9_.:*-]+)?$/.test(name)) return { name, required };
  throw source.invalid(
    'FLAG_INVALID',
    location,
    `${JSON.stringify(name ?? '')} names no device`,
    'Write --device=vendor.example/class=name[,required].',
  );
}
