import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyChanges } from './changes.ts';

test('changes apply in order, as lines of a Dockerfile', () => {
  const config = applyChanges({ Env: ['PATH=/bin', 'A=0'], Cmd: ['old'] }, [
    'ENTRYPOINT ["/init"]',
    'cmd echo hi',
    `ENV A=1 B="x y" C='$z'`,
    'ENV OLD the rest of it',
    'LABEL org.example.a=b',
    'EXPOSE 80 53/UDP',
    'VOLUME ["/data", "/b c"]',
    'WORKDIR /srv',
    'WORKDIR app',
    'USER 1000:1000',
    'STOPSIGNAL SIGQUIT',
    'HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f http://localhost/',
  ]);
  assert.deepEqual(config, {
    Env: ['PATH=/bin', 'A=1', 'B=x y', 'C=$z', 'OLD=the rest of it'],
    Entrypoint: ['/init'],
    Cmd: ['/bin/sh', '-c', 'echo hi'],
    Labels: { 'org.example.a': 'b' },
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    Volumes: { '/data': {}, '/b c': {} },
    WorkingDir: '/srv/app',
    User: '1000:1000',
    StopSignal: 'SIGQUIT',
    Healthcheck: { Interval: 90_000_000_000, Retries: 3, Test: ['CMD-SHELL', 'curl -f http://localhost/'] },
  });
  assert.deepEqual(applyChanges({ Cmd: ['old'] }, ['ENTRYPOINT ["/x"]']).Cmd, null);
});

for (const [change, why] of [
  ['RUN true', /use one of/],
  ['CMD', /no argument/],
  ['ENV A', /NAME=VALUE/],
  ['ENV A="x', /not closed/],
  ['EXPOSE http', /not a port/],
  ['HEALTHCHECK --interval=soon CMD x', /not a duration/],
  ['SHELL sh', /JSON list/],
] as const) {
  test(`refuses "${change}"`, () => assert.throws(() => applyChanges({}, [change]), why));
}
