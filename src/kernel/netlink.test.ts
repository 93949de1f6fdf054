import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attribute, NetlinkError, NetlinkSocket, parseAttributes } from './netlink.ts';

const linkHeader = Buffer.alloc(16);
const RTM_GETLINK = 18;
const RTM_DELLINK = 17;
const IFLA_IFNAME = 3;
const nameOf = (bytes: Buffer | undefined) => bytes?.toString('latin1').replace('\0', '');
const byName = (type: number, name: string) => ({
  type,
  flags: 0,
  payload: Buffer.concat([linkHeader, attribute(IFLA_IFNAME, Buffer.from(`${name}\0`))]),
  what: name,
});

test('attributes nest, are padded and found again; what does not fit ends the reading', () => {
  const inner = attribute(7, Buffer.from('abcde'));
  assert.equal(inner.length, 12);
  const outer = Buffer.concat([attribute(1, [inner, attribute(8, Buffer.from([9]))]), attribute(2, Buffer.alloc(0))]);
  const found = parseAttributes(outer);
  assert.deepEqual([...found.keys()], [1, 2]);
  assert.equal(
    parseAttributes(found.get(1) ?? Buffer.alloc(0))
      .get(7)
      ?.toString(),
    'abcde',
  );
  assert.deepEqual([...parseAttributes(Buffer.concat([attribute(1, Buffer.from('x')), Buffer.from([200, 0, 5, 0, 1])])).keys()], [1]);
  assert.equal(parseAttributes(Buffer.from([0, 0, 0, 0])).size, 0);
});

test('one answer, a listing and an interface number come from the kernel, in any order of the calls', async () => {
  using socket = new NetlinkSocket('route');
  assert.equal(socket.indexOf('lo'), 1);
  const [one, all, again] = await Promise.all([
    socket.get(byName(RTM_GETLINK, 'lo')),
    socket.list({ type: RTM_GETLINK, flags: 0, payload: linkHeader, what: 'links' }),
    socket.get(byName(RTM_GETLINK, 'lo')),
  ]);
  for (const part of [one, again]) assert.equal(nameOf(parseAttributes(part.subarray(16)).get(IFLA_IFNAME)), 'lo');
  assert.ok(all.some((part) => nameOf(parseAttributes(part.subarray(16)).get(IFLA_IFNAME)) === 'lo'));
});

test('an error says what was asked, and does not spoil what is asked next', async () => {
  using socket = new NetlinkSocket('route');
  const missing = byName(process.getuid?.() === 0 ? RTM_DELLINK : RTM_GETLINK, 'no-such-link');
  await assert.rejects(socket.request([missing, missing]), (error: NetlinkError) => {
    assert.ok(error instanceof NetlinkError);
    assert.match(error.message, /ENODEV: netlink no-such-link/);
    return error.code === 'ENODEV';
  });
  assert.throws(() => socket.indexOf('no-such-link'), { code: 'ENODEV' });
  assert.ok((await socket.get(byName(RTM_GETLINK, 'lo'))).length > 16);
});
