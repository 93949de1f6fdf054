import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { boolean, type FlagTable, integer, list, text } from './flags.ts';
import { parse as parseWith } from './parser.ts';

const table = {
  env: list('', { short: 'e' }),
  init: boolean('', { negatable: true }),
  interactive: boolean('', { short: 'i' }),
  'no-cache': boolean(''),
  network: text('', { aliases: ['net'] }),
  publish: list('', { short: 'p' }),
  retries: integer(''),
  tty: boolean('', { short: 't' }),
};
function parseFlags<F extends FlagTable>(flags: F, argv: string[], { interspersed }: { interspersed: boolean }) {
  let shown = '';
  const write = (text: string | Uint8Array) => {
    shown += text;
  };
  return { ...parseWith('test', { summary: 'Test', flags, args: '[ARG...]', interspersed }, argv, { write }), shown: () => shown };
}
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
  [
    ['-it=false', '-p=80:80', '-p=90:90', '-p=80:80', 'img'],
    { interactive: true, tty: false, publish: ['80:80', '90:90', '80:80'] },
    ['img'],
  ],
  [['-ip=80:80', '--tty=1', '-p', '--tty=0', 'img'], { interactive: true, tty: true, publish: ['80:80', '--tty=0'] }, ['img']],
  [['--init', '--init=false', '--env', '=x', 'img', '--tty=true', '-p=1:1'], { init: false, env: ['=x'] }, ['img', '--tty=true', '-p=1:1']],
  [['--no-cache', 'img'], { 'no-cache': true }, ['img']],
  [['--no-cache=false', '-eA=b=c', '-p=', 'img'], { 'no-cache': false, env: ['A=b=c'], publish: [''] }, ['img']],
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
  [['--netwrok', 'host'], /unknown option '--netwrok'/, /^Did you mean --network\?$/],
  [['-x', 'img'], /unknown option '-x'/],
  [['-ix'], /unknown option '-x'/],
  [['-i', '--nope=1', 'img'], /unknown option '--nope=1'/],
  [['--network'], /'--network <VALUE>' argument missing/],
  [['-e'], /'-e, --env <VALUE>' argument missing/],
  [['--retries', '1.5'], /"1\.5" for --retries/],
  [['--tty=maybe'], /"maybe" for --tty/],
  [['-it='], /"" for --tty/],
  [['--no-tty'], /unknown option '--no-tty'/],
  [['--no-init=true'], /unknown option '--no-init=true'/],
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
  assert.equal(parse('-h').helped, true);
  assert.equal(parse('-t', '--help').helped, true);
  assert.match(parse('--help').shown(), /^Usage: slipway test \[options\] \[ARG\.\.\.\]\n\nTest\.\n\nOptions:\n/);
  const behind = parse('img', '--help');
  assert.deepEqual([behind.helped, behind.shown()], [false, '']);
  const withHost = parseFlags({ hostname: text('', { short: 'h' }) }, ['-h', 'web'], { interspersed: false });
  assert.deepEqual([withHost.helped, withHost.values.hostname], [false, 'web']);
});
