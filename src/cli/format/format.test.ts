import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../base/errors.ts';
import { humanDuration } from '../../base/human-duration.ts';
import { showPorts } from '../commands/ps.ts';
import { Output } from '../output.ts';
import { labelFields, printListing } from './listing.ts';
import { renderTable } from './table.ts';
import { compileTemplate } from './template.ts';
import { binarySize, ellipsis, goTime, humanAge, humanSize } from './units.ts';

class Captured extends Output {
  text = '';
  override write(data: string | Uint8Array): void {
    this.text += data.toString();
  }
}

const container = {
  Id: 'abc',
  State: { Status: 'running', ExitCode: 0 },
  Config: { Env: ['A=1', 'B=2'], Labels: { b: '2', a: '1' } },
  NetworkSettings: { Networks: { app: { IPAddress: '10.0.0.7' } }, Ports: { '80/tcp': [{ HostPort: '8080' }] } },
};
const templates: [template: string, text: string][] = [
  ['{{.State.Status}}', 'running'],
  ['{{ .Id }}:{{.State.ExitCode}}', 'abc:0'],
  ['{{json .State}}', '{"Status":"running","ExitCode":0}'],
  ['{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', '10.0.0.7'],
  ['{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}', 'app=10.0.0.7'],
  ['{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', '8080'],
  ['{{range .Config.Env}}{{println .}}{{end}}', 'A=1\nB=2\n'],
  ['{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}', 'A=1,B=2'],
  ['{{join .Config.Env "|"}}', 'A=1|B=2'],
  ['{{index .Config.Labels "a"}}', '1'],
  ['{{len .Config.Env}} {{.Config.Labels}} {{.Config.Env}}', '2 map[a:1 b:2] [A=1 B=2]'],
  ['{{if eq .State.Status "running"}}up{{else}}down{{end}}', 'up'],
  ['{{if .Missing}}x{{else if .Id}}y{{else}}z{{end}}', 'y'],
  ['{{with .State}}{{.Status}}{{end}}', 'running'],
  ['{{.Id | upper | printf "%-5s|"}}', 'ABC  |'],
  ['{{range .Nothing}}x{{else}}none{{end}}', 'none'],
  ['a {{- /* note */ -}} b', 'ab'],
  ['{{$x := .Id}}{{$x}}{{$.Id}}', 'abcabc'],
  ['{{.Missing}}', '<no value>'],
];
for (const [template, text] of templates) {
  test(`template ${template}`, () => assert.equal(compileTemplate(template, { strict: false })(container), text));
}

for (const template of [
  '{{.A',
  '{{end}}',
  '{{if .A}}',
  '{{template "x"}}',
  '{{.A .B}}',
  '{{call .A}}',
  '{{range $a, $b = .X}}{{end}}',
  '{{$nope}}',
  '{{"a}}',
]) {
  test(`template refused: ${template}`, () => {
    assert.throws(
      () => compileTemplate(template, { strict: false })({}),
      (error) => error instanceof EngineError && error.code === 'USAGE',
    );
  });
}

test('an unknown construct says what is supported', () => {
  assert.throws(
    () => compileTemplate('{{nope .}}', { strict: true }),
    (error) => error instanceof EngineError && /"nope"/.test(error.message) && /json, join/.test(error.hint ?? ''),
  );
});

const rows = [
  { ID: '1', Names: 'web', ...labelFields({ 'acme.tier-name': 'front' }) },
  { ID: '22', Names: 'database', ...labelFields(undefined) },
];
const listing = (options: { format?: string; quiet?: boolean }) => {
  const output = new Captured({});
  printListing(output, rows, { table: ['ID', 'Names'], titles: { ID: 'CONTAINER ID' }, quiet: 'ID' }, options);
  return output.text;
};

test('listings: table, quiet, json, template, table template', () => {
  assert.equal(listing({}), 'CONTAINER ID   NAMES\n1              web\n22             database\n');
  assert.equal(listing({ quiet: true }), '1\n22\n');
  assert.equal(
    listing({ format: 'json' }),
    '{"ID":"1","Names":"web","Labels":"acme.tier-name=front"}\n{"ID":"22","Names":"database","Labels":""}\n',
  );
  assert.equal(listing({ format: '{{.Names}}\\t{{.ID}}' }), 'web\t1\ndatabase\t22\n');
  assert.equal(listing({ format: 'table {{.Names}}\\t{{.ID}}' }), 'NAMES      CONTAINER ID\nweb        1\ndatabase   22\n');
  const label = '{{.Label "acme.tier-name"}}';
  assert.equal(listing({ format: `{{.ID}}=${label}` }), '1=front\n22=\n');
  assert.equal(listing({ format: `table ${label}\t{{.ID}}` }), 'tier name   CONTAINER ID\nfront       1\n            22\n');
  assert.throws(() => listing({ format: '{{.ID "x"}}' }), /"x" follows a field that takes no argument/);
  assert.throws(() => listing({ format: '{{.Nmae}}' }), /no field \.Nmae/);
});

test('tables: columns are at least ten wide and nothing trails', () => {
  assert.equal(
    renderTable([
      ['A', 'B', 'C'],
      ['x', '', ''],
    ]),
    'A         B         C\nx\n',
  );
});

test('units for people', () => {
  assert.deepEqual([0, 999, 1000, 72_812_345, 1.234e9].map(humanSize), ['0B', '999B', '1kB', '72.8MB', '1.23GB']);
  assert.deepEqual([1024, 1.5 * 2 ** 30].map(binarySize), ['1KiB', '1.5GiB']);
  const minute = 60_000;
  const ages = [
    500,
    1000,
    59_000,
    minute,
    5 * minute,
    70 * minute,
    5 * 60 * minute,
    47 * 60 * minute,
    72 * 60 * minute,
    21 * 24 * 60 * minute,
  ];
  assert.deepEqual(ages.map(humanDuration), [
    ...[
      'Less than a second',
      '1 second',
      '59 seconds',
      'About a minute',
      '5 minutes',
      'About an hour',
      '5 hours',
      '47 hours',
      '3 days',
      '3 weeks',
    ],
  ]);
  assert.equal(humanAge(0, 1000), 'N/A');
  assert.equal(humanAge(1000, 11_000), '10 seconds ago');
  assert.match(goTime(0), /^(?:1970-01-01|1969-12-31) \d\d:\d\d:\d\d [+-]\d{4} \S+$/);
  assert.equal(ellipsis('abcdef', 4), 'abc…');
});

test('ports: neighbours are joined', () => {
  assert.equal(
    showPorts([
      { IP: '0.0.0.0', PrivatePort: 81, PublicPort: 8001, Type: 'tcp' },
      { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8000, Type: 'tcp' },
      { PrivatePort: 53, Type: 'udp' },
      { IP: '::1', PrivatePort: 90, PublicPort: 90, Type: 'tcp' },
    ]),
    '0.0.0.0:8000-8001->80-81/tcp, [::1]:90->90/tcp, 53/udp',
  );
});
