import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { call, cannotRunDaemon } from './api-daemon-harness.ts';
import { cannotReach, ExampleBench } from './examples-support.ts';

const skip = cannotRunDaemon || (findProgram('mmdebstrap') === undefined && 'needs mmdebstrap');

describe('the examples on Debian', { skip }, () => {
  const bench = new ExampleBench();
  let unreachable: string | false = false;
  before(async () => {
    await bench.place.start();
    try {
      // An image of that name, saved before: with a slow mirror the base is most of the time that this takes.
      const saved = process.env.SLIPWAY_TEST_DEBIAN;
      if (saved !== undefined) bench.slipway('load', '-i', saved);
      else bench.slipway('bootstrap', 'debian', 'bookworm', '--host-certificates', '-t', 'debian:bookworm');
    } catch (error) {
      unreachable = cannotReach(error);
      if (unreachable === false) throw error;
    }
  });
  after(() => bench.remove());

  test('groups of packages are steps upon each other, and one that changes does not run those before it', async (t) => {
    if (unreachable !== false) return t.skip(unreachable);
    const folder = bench.copy('debian-groups');
    const build = () => bench.build('-f', join(folder, 'build.ts'), '-t', 'tools:1', folder);
    const groups = (tools: string[]) =>
      writeFileSync(
        join(folder, 'groups.json'),
        JSON.stringify([
          { name: 'servers', packages: ['lighttpd'] },
          { name: 'tools', packages: tools },
        ]),
      );
    groups(['jq']);
    assert.deepEqual((await build()).ran, ['RUN install servers', 'RUN install tools']);
    assert.match(bench.slipway('run', '--rm', 'tools:1', 'jq', '--version'), /^jq-1/);
    const again = await build();
    assert.deepEqual([again.ran, again.result.cachedVertices], [[], again.result.vertices]);
    groups(['less', 'jq']);
    const changed = await build();
    assert.deepEqual([changed.ran, changed.cached.includes('RUN install servers')], [['RUN install tools'], true]);
    assert.match(
      bench.slipway('run', '--rm', 'tools:1', 'sh', '-c', 'lighttpd -v; less --version; ls /var/cache/apt /var/lib/apt/lists'),
      /lighttpd\/1[\s\S]*less \d+/,
    );
    const left = bench.slipway('run', '--rm', 'tools:1', 'find', '/var/cache/apt', '/var/lib/apt/lists', '-type', 'f');
    assert.doesNotMatch(left, /\.deb|Packages/, 'downloads stay outside of the image');
  });

  test('task files of a playbook are steps, Ansible is in none of them, and what a task reads decides whether it runs', async (t) => {
    if (unreachable !== false) return t.skip(unreachable);
    const folder = bench.copy('ansible');
    bench.slipway('build', '-q', '-t', 'ansible', folder);
    const describePlaybook = () =>
      writeFileSync(
        join(folder, 'build.json'),
        bench.slipway('run', '--rm', '--network', 'none', '-v', `${folder}:/playbook:ro`, 'ansible'),
      );
    const build = () => bench.build('-f', join(folder, 'build.json'), '-t', 'site:1', folder);
    describePlaybook();
    const all = ['users/main.yml', 'web/packages.yml', 'web/configuration.yml', 'page/main.yml'].map((name) => `ansible ${name}`);
    const first = await build();
    assert.deepEqual(first.ran, all);
    describePlaybook();
    const again = await build();
    assert.deepEqual([again.ran, again.result.cachedVertices, again.result.imageId], [[], again.result.vertices, first.result.imageId]);

    writeFileSync(join(folder, 'roles/page/templates/index.html.j2'), '<title>{{ page_title }}</title>\n<h1>another page</h1>\n');
    describePlaybook();
    const changed = await build();
    assert.deepEqual([changed.ran, changed.cached], [['ansible page/main.yml'], all.slice(0, 3)]);

    const id = bench.slipway('run', '-d', '-p', '127.0.0.1::8080', 'site:1').trim();
    const [{ NetworkSettings }] = [JSON.parse((await call(bench.place.socket, 'GET', `/containers/${id}/json`)).text)] as [
      { NetworkSettings: { Ports: Record<string, { HostPort: string }[]> } },
    ];
    const page = await askUntilItAnswers(`http://127.0.0.1:${NetworkSettings.Ports['8080/tcp']?.[0]?.HostPort}/`);
    assert.equal(page, '<title>Provisioned once, cached since</title>\n<h1>another page</h1>\n');
    const inside = (command: string) => bench.slipway('exec', id, 'sh', '-c', command);
    assert.equal(inside('stat -c "%U %G %a" /srv/www/index.html; cat /etc/lighttpd/release'), 'ada editors 664\nDebian 12\n');
    assert.equal(inside('ls -d /ansible /playbook /root/.ansible /run/ansible /usr/bin/python3 2>/dev/null; true'), '');
  });
});

async function askUntilItAnswers(url: string): Promise<string> {
  for (const deadline = Date.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}
