import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';

/** Options of each driver. All keep their output in the spool: of `none` too, a client that is attached reads it there. */
const drivers: Record<string, readonly string[]> = {
  'json-file': ['max-file', 'max-size', 'compress', 'labels', 'labels-regex', 'env', 'env-regex', 'tag'],
  local: ['max-file', 'max-size', 'compress'],
  none: [],
};
const common = ['mode', 'max-buffer-size'];
const effective = ['max-file', 'max-size'];

/** Answers a warning for each option of Docker's that says nothing here. InvalidArgument for an unknown driver or option. */
export function checkLogging(host: HostConfig): string[] {
  const driver = host.LogConfig?.Type || 'json-file';
  const known = drivers[driver];
  if (known === undefined || !Object.hasOwn(drivers, driver)) {
    throw new EngineError('InvalidArgument', 'LOG_DRIVER_UNKNOWN', `logger: no log driver named '${driver}' is registered`, {
      hint: `The engine has ${Object.keys(drivers).join(', ')}.`,
    });
  }
  const options = Object.keys(host.LogConfig?.Config ?? {});
  const unknown = options.find((option) => !known.includes(option) && !common.includes(option));
  if (unknown !== undefined)
    throw new EngineError('InvalidArgument', 'LOG_OPTION_UNKNOWN', `unknown log opt '${unknown}' for ${driver} log driver`);
  checkLimits(host.LogConfig?.Config ?? {});
  return options.filter((option) => !effective.includes(option)).map((option) => `log option ${option} has no effect`);
}

function checkLimits(options: Record<string, string>): void {
  const { 'max-size': size, 'max-file': files } = options;
  const refuse = (name: string, value: string) =>
    new EngineError('InvalidArgument', 'LOG_OPTION_INVALID', `invalid log opt ${name}: ${JSON.stringify(value)}`);
  if (size !== undefined && size !== '-1' && !/^\d+(\.\d+)?\s*[kmgt]?b?$/i.test(size)) throw refuse('max-size', size);
  if (files !== undefined && !/^[1-9]\d{0,4}$/.test(files)) throw refuse('max-file', files);
}
