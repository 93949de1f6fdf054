// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExpansionError, expand } from './expand.ts';

const values: Record<string, string> = {
  PWD: '/home',
  SHELL: 'bash',
  NULL: '',
  GREETING: 'grüße',
  VERSION: '1.2.3',
  FILE: 'a/b/c.tar.gz',
  S: 'x*y?z',
};
const environment = { get: (name: string) => values[name] };
const error = Symbol('error');

// Expectations follow the Dockerfile reference and BuildKit's shell lexer.
const rows: [word: string, expected: string | typeof error][] = [
  ['hello', 'hello'],
  ["he'll'o", 'hello'],
  ["he'llo", error],
  ["he\\'llo", "he'llo"],
  ["he\\\\'llo", error],
  ['abc\\tdef', 'abctdef'],
  ['"abc\\tdef"', 'abc\\tdef'],
  ['"abc\\\\tdef"', 'abc\\tdef'],
  ["'abc\\tdef'", 'abc\\tdef'],
  ['hello\\', 'hello'],
  ['hello\\\\', 'hello\\'],
  ['"hello', error],
  ['"hello\\"', error],
  ['"hel\'lo"', "hel'lo"],
  ["'hello", error],
  ["'hello\\'", 'hello\\'],
  ['"\'\'"', "''"],
  ['$.', '$.'],
  ['he$1x', 'hex'],
  ['he$.x', 'he$.x'],
  ['he$pwd.', 'he.'],
  ['he$PWD', 'he/home'],
  ['he\\$PWD', 'he$PWD'],
  ['he\\\\$PWD', 'he\\/home'],
  ['"he\\$PWD"', 'he$PWD'],
  ['"he\\\\$PWD"', 'he\\/home'],
  ['\\${}', '${}'],
  ['${}', error],
  ['he${}xx', error],
  ['he${hi}', 'he'],
  ['he${PWD}', 'he/home'],
  ['he${.}', error],
  ['he${XXX:-000}xx', 'he000xx'],
  ['he${PWD:-000}xx', 'he/homexx'],
  ['he${XXX:-$PWD}xx', 'he/homexx'],
  ['he${XXX:-${YYY:-yyy}}xx', 'heyyyxx'],
  ['he${XXX:YYY}', error],
  ['${NULL-000}', ''],
  ['${NULL:-000}', '000'],
  ['${XXX-000}', '000'],
  ['${NULL+set}', 'set'],
  ['${NULL:+set}', ''],
  ['${XXX+set}', ''],
  ['${PWD:+set}', 'set'],
  ['he${XXX?}', error],
  ['he${XXX:?}', error],
  ['he${PWD?}', 'he/home'],
  ['he${NULL?}', 'he'],
  ['he${NULL:?}', error],
  ['he${PWD:+${SHELL}}xx', 'hebashxx'],
  ["'he${XX}'", 'he${XX}'],
  ['"he\'$PWD\'"', "he'/home'"],
  ["'\\$PWD'", '\\$PWD'],
  ['\'"hello"\'', '"hello"'],
  ['he${PWD', error],
  ['he${PWD:=000}xx', error],
  ['he${PWD:+${PWD}:}xx', 'he/home:xx'],
  ['he${XXX:-\\$PWD:}xx', 'he$PWD:xx'],
  ['he${XXX:-\\${PWD}z}xx', 'he${PWDz}xx'],
  ['안$GREETING', '안grüße'],
  ["안'녕'", '안녕'],
  ['${{aaa}', error],
  ['${aaa}}', '}'],
  ['${aaa:-bbb}}', 'bbb}'],
  ['${aaa:-bbb ${foo}', error],
  ['${aaa:-bbb {foo}', 'bbb {foo'],
  ['${:}', error],
  ['${:-bbb}', error],
  ['$999aaa', 'aaa'],
  ['${999:-bbb}aaa', 'bbbaaa'],
  ['$@@@', '@@'],
  ['$#', ''],
  ['${#:-bbb}', 'bbb'],
  ['$$', ''],
  ['${!:-bbb}', 'bbb'],
  ['$0', ''],
  ['${-:-bbb}', 'bbb'],
  // Removal of prefixes and suffixes.
  ['${VERSION#1.}', '2.3'],
  ['${VERSION#*.}', '2.3'],
  ['${VERSION##*.}', '3'],
  ['${VERSION%.*}', '1.2'],
  ['${VERSION%%.*}', '1'],
  ['${FILE##*/}', 'c.tar.gz'],
  ['${FILE%.gz}', 'a/b/c.tar'],
  ['${FILE%%.*}', 'a/b/c'],
  ['${FILE#?/}', 'b/c.tar.gz'],
  ['${FILE#nope}', 'a/b/c.tar.gz'],
  ['${XXX#a}', ''],
  ['${S#x\\*}', 'y?z'],
  ['${S%\\?z}', 'x*y'],
  ['${S#\\y}', error],
  ['${S:#x}', error],
  ['${GREETING%?}', 'grüß'],
  ['${GREETING#??}', 'üße'],
  // Replacement.
  ['${FILE/b/x}', 'a/x/c.tar.gz'],
  ['${FILE//a/x}', 'x/b/c.txr.gz'],
  ['${FILE/\\//-}', 'a-b/c.tar.gz'],
  ['${FILE//\\//-}', 'a-b-c.tar.gz'],
  ['${FILE/.*/}', 'a/b/c'],
  ['${VERSION//./_}', '1_2_3'],
  ['${VERSION/zzz/y}', '1.2.3'],
  ['${VERSION/[0-9]/y}', '1.2.3'],
  ['${VERSION/?./y}', 'y2.3'],
  ['${XXX/a/b}', ''],
  ['${VERSION/a', error],
  ['${VERSION/a/b', error],
];

for (const [word, expected] of rows) {
  test(`${word} becomes ${expected === error ? 'an error' : expected}`, () => {
    if (expected === error) assert.throws(() => expand(word, environment), ExpansionError);
    else assert.equal(expand(word, environment).text, expected);
  });
}

test('the escape character can be a backquote', () => {
  assert.equal(expand('`$PWD \\x', environment, { escape: '`' }).text, '$PWD \\x');
});

test('words are split where spaces are neither quoted nor escaped, after expansion', () => {
  const spaced = { get: () => 'a b' };
  assert.deepEqual(expand('x $v y', spaced).words, ['x', 'a', 'b', 'y']);
  assert.deepEqual(expand('x "$v" y', spaced).words, ['x', 'a b', 'y']);
  assert.deepEqual(expand('x\\ y z', spaced).words, ['x y', 'z']);
  assert.deepEqual(expand('  ', spaced).words, []);
});

test('unset variables are named, and can be kept as written', () => {
  assert.deepEqual([...expand('$a ${b} $PWD', environment).unset], ['a', 'b']);
  assert.equal(expand('$a ${b} ${c:-d} ${e#f} $PWD', environment, { keepUnset: true }).text, '$a ${b} ${c:-d} ${e#f} /home');
});

test('raw quotes and ignored quotes keep what they enclose', () => {
  assert.equal(expand('a "b $PWD" \'c\'', environment, { rawQuotes: true }).text, 'a "b /home" \'c\'');
  assert.equal(expand('it\'s "$PWD"', environment, { ignoreQuotes: true }).text, 'it\'s "/home"');
});

test('expansion is bounded in length, depth and time', () => {
  const big = { get: () => 'x'.repeat(100_000) };
  assert.throws(() => expand('$a'.repeat(20), big), /longer than/);
  assert.throws(() => expand('${a:-'.repeat(10_000), { get: () => undefined }), ExpansionError);
  const started = performance.now();
  assert.throws(() => expand(`\${a//${'*a'.repeat(50)}b/}`, big), /too long/);
  assert.ok(performance.now() - started < 20_000);
});
