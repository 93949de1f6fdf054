import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { boolean, integer, list, parseFlags, text } from './flags.ts';

const table = {
  env: list('', { short: 'e' }),
  init: boolean('', { negatable: true }),
  interactive: boolean('', { short: 'i' }),
  network: text('', { aliases: ['net'] }),
  publish: list('', { short: 'p' }),
  retries: integer(''),
  tty: boolean('', { short: 't' }),
};
const parse = (...argv: string[]) => parseFlags(table, argv, { interspersed: false });

const sound: [argv: string[], values: Record<string, unknown>, args: string[]][] = [
  [['-it', 'img', '-t'], { interactive: true, tty: true }, ['img', '-t']],
  [['-e', 'A=1', '--env=B=2', '-eC', 'img'], { env: ['A=1', 'B=2', 'C'] }, ['img']],
  [['-p=80:80', '-p', '-', 'img'], { publish: ['80:80', '-'] }, ['img']],
  [['-ite', 'X=y', 'img'], { interactive: true, tty: true, env: ['X=y'] }, ['img']],
  [['--tty=false', '-i=true', 'img'], { tty: false, interactive: true }, ['img']],
  [['--no-init', 'img'], { init: false }, ['img']],
  [['--net', 'host', '--retries', '-1', 'img'], { network: 'host', retries: -1 }, ['img']],
  [['--', '--tty'], {}, ['--tty']],
  [['-', 'x'], {}, ['-', 'x']],
];
for (const [argv, values, args] of sound) {
  test(`flags: ${argv.join(' ')}`, () => {
    const parsed = parse(...argv);
    assert.deepEqual(parsed.args, args);
    assert.deepEqual(parsed.values, { env: [], publish: [], ...values });
  });
}

const wrong: [argv: string[], message: RegExp, hint?: RegExp][] = [
  [['--netwrok', 'host'], /unknown flag: --netwrok/, /--network/],
  [['-x', 'img'], /unknown shorthand flag: -x/],
  [['-ix'], /unknown shorthand flag: -x in -ix/],
  [['--network'], /needs an argument: --network/],
  [['-e'], /needs an argument: -e/],
  [['--retries', '1.5'], /"1\.5" for --retries/],
  [['--tty=maybe'], /"maybe" for --tty/],
  [['--no-tty'], /unknown flag: --no-tty/],
];
for (const [argv, message, hint] of wrong) {
  test(`flags are refused: ${argv.join(' ')}`, () => {
    assert.throws(
      () => parse(...argv),
      (error) => {
        assert.ok(error instanceof EngineError);
        assert.equal(error.exitCode, 125);
        assert.match(error.message, message);
        if (hint !== undefined) assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  });
}

test('flags may follow arguments where a command takes no command line of others', () => {
  const parsed = parseFlags(table, ['a', '-t', 'b'], { interspersed: true });
  assert.deepEqual(parsed.args, ['a', 'b']);
  assert.equal(parsed.values.tty, true);
});

test('-h asks for help unless the command has a flag of that name', () => {
  assert.equal(parse('-h').help, true);
  assert.equal(parse('-t', '--help').help, true);
  assert.equal(parse('img', '--help').help, false);
  const withHost = parseFlags({ hostname: text('', { short: 'h' }) }, ['-h', 'web'], { interspersed: false });
  assert.deepEqual([withHost.help, withHost.values.hostname], [false, 'web']);
});
