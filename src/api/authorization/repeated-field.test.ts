import assert from 'node:assert/strict';
import { test } from 'node:test';
import { repeatedField } from './repeated-field.ts';

test('a field that is said twice is found, in any case and spelling', () => {
  const twice: [string, string][] = [
    ['{"Image":"a","Image":"b"}', 'Image'],
    ['{"Image":"a","image":"b"}', 'image'],
    ['{"HostConfig":{},"x":1,"Ho\u017ftConfig":{}}', 'Ho\u017ftConfig'],
    ['{"NetworkMode":"a","Networ\u212aMode":"b"}', 'Networ\u212aMode'],
    ['{"Image":"a","\\u0049mage":"b"}', 'Image'],
    ['{"HostConfig":{"Binds":[],"Privileged":true,"privileged":false}}', 'privileged'],
    ['[{"a":[{"b":1}],"A":2}]', 'A'],
    ['{"Labels":{"a":"1","a":"2"}}', 'a'],
    ['{"Labels":{"a":"1"},"labels":{}}', 'labels'],
    ['{"EndpointsConfig":{"net":{"IPAMConfig":{},"ipamconfig":{}}}}', 'ipamconfig'],
  ];
  for (const [json, field] of twice) assert.equal(repeatedField(json), field, json);
});

test('what is said once, or are names of the user, is not', () => {
  for (const json of [
    '{"Labels":{"a":"1","A":"2"},"Volumes":{"/a":{},"/A":{}}}',
    '{"Env":["A=1","A=1"],"Cmd":["Image","Image"],"Image":"\\"Image\\":"}',
    '[{"a":1},{"a":1}]',
    '{"a":{"a":{"a":1}}}',
    '"a"',
    '',
    '{"a":"{\\"a\\":1,\\"a\\":2}"}',
  ])
    assert.equal(repeatedField(json), undefined, json);
  const deep = `${'{"a":['.repeat(20_000)}${']}'.repeat(20_000)}`;
  assert.equal(repeatedField(deep), undefined);
});
