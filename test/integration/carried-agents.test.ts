import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Duplex, duplexPair } from 'node:stream';
import { after, before, test } from 'node:test';
import { CarriedAgents } from '../../src/api/carried-agents.ts';
import { carryAgent } from '../../src/cli/build/carry-agent.ts';
import type { EngineClient } from '../../src/cli/client/client.ts';

const folder = mkdtempSync(join(tmpdir(), 'slipway-agent-'));
const path = join(folder, 'agent');
const served: Socket[] = [];
let agent: Server;
before(async () => {
  // An agent that answers with what it is asked, in capitals.
  agent = createServer((socket) => {
    served.push(socket);
    socket.on('data', (data) => socket.write(data.toString().toUpperCase()));
  }).listen(path);
  await once(agent, 'listening');
});
after(() => {
  for (const socket of served) socket.destroy();
  agent.close();
  rmSync(folder, { recursive: true });
});

/** A client whose upgraded connections reach `agents`. */
function clientOf(agents: CarriedAgents): { client: EngineClient; opened: Duplex[] } {
  const opened: Duplex[] = [];
  const upgrade = async (target: string, protocol: string) => {
    assert.equal(protocol, 'slipway-agent');
    const [near, far] = duplexPair();
    opened.push(near);
    agents.offer(target.split('/').at(-1) ?? '', far);
    return { socket: near, headers: new Map() };
  };
  return { client: { upgrade } as unknown as EngineClient, opened };
}

async function ask(connection: Duplex, question: string): Promise<string> {
  connection.write(question);
  const [answer] = (await once(connection, 'data')) as [Buffer];
  return answer.toString();
}

test('each connection of a step becomes one to the agent, several at once', async () => {
  const agents = new CarriedAgents();
  const { client, opened } = clientOf(agents);
  const carried = await carryAgent({ client }, 'abc', path);
  const connections = await Promise.all(
    [1, 2, 3, 4].map(() => agents.connect('abc').then(async (connection) => ({ connection, answer: await ask(connection, 'list') }))),
  );
  assert.deepEqual(
    connections.map(({ answer }) => answer),
    ['LIST', 'LIST', 'LIST', 'LIST'],
  );
  const [first] = connections;
  assert.equal(await ask(first?.connection as Duplex, 'sign'), 'SIGN');
  carried[Symbol.dispose]();
  await Promise.all(opened.map((socket) => socket.closed || once(socket, 'close')));
});

test('nothing reaches the agent before a step asks, and a step that asks under another name gets nothing', async (t) => {
  const agents = new CarriedAgents();
  const { client, opened } = clientOf(agents);
  const before = served.length;
  using _carried = await carryAgent({ client }, 'abc', path);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const other = assert.rejects(agents.connect('xyz'), { code: 'SSH_AGENT_GONE' });
  t.mock.timers.tick(10_000);
  await other;
  assert.equal(served.length, before);
  assert.equal(opened.length, 2);
});
