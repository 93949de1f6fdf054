import assert from 'node:assert/strict';
import { test } from 'node:test';
import { socketInodes } from './port-holder.ts';

const header = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
const row = (local: string, state: string, inode: number) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0 0 10 0`;

test('a socket holds a port when it listens on the same address, or either is every address', () => {
  const table = [
    header,
    row('0100007F:1F90', '0A', 11),
    row('0200007F:1F90', '0A', 12),
    row('0100007F:1F90', '01', 13),
    row('0100007F:1F91', '0A', 14),
  ].join('\n');
  assert.deepEqual(socketInodes(table, '127.0.0.1', 8080, 'tcp'), ['11']);
  assert.deepEqual(socketInodes(table, '0.0.0.0', 8080, 'tcp'), ['11', '12']);
  assert.deepEqual(socketInodes([header, row('00000000:1F90', '0A', 15)].join('\n'), '127.0.0.1', 8080, 'tcp'), ['15']);
  const six = [header, row('00000000000000000000000000000000:1F90', '0A', 16), row('0000000000000000FFFF00000100007F:1F90', '0A', 17)].join(
    '\n',
  );
  assert.deepEqual(socketInodes(six, '127.0.0.1', 8080, 'tcp'), ['16', '17']);
});

test('a UDP socket has no listening state', () => {
  assert.deepEqual(socketInodes([header, row('00000000:0035', '07', 21)].join('\n'), '10.0.0.1', 53, 'udp'), ['21']);
});
