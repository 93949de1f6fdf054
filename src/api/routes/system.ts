import { release } from 'node:os';
import type { FastifyInstance } from 'fastify';
import { apiVersion, minApiVersion, type VersionResponse } from '../../api-types/system.ts';
import { describeProgram } from '../components.ts';
import { diskUsage } from '../disk-usage.ts';
import { goArch } from '../go-arch.ts';
import type { Services } from '../services.ts';
import { systemInfo } from '../system-info.ts';
import { speaks } from '../version.ts';

/** `_ping`, version, info, system/df. */
export function systemRoutes(app: FastifyInstance, services: Services): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: '/_ping',
    handler: (request, reply) => {
      // 2: BuildKit's protocol. Clients that do not speak it, or are told not to, send POST /build.
      reply.header('Builder-Version', services.buildkit === undefined ? '1' : '2').header('Swarm', 'inactive');
      reply.header('Cache-Control', 'no-cache, no-store, must-revalidate').header('Pragma', 'no-cache');
      reply.type('text/plain; charset=utf-8');
      return request.method === 'HEAD' ? reply.header('Content-Length', '0').send() : reply.send('OK');
    },
  });
  app.options('/*', (_request, reply) => reply.code(200).send());
  app.get('/version', () => version(services));
  app.get('/info', (request) => systemInfo(services, (wanted) => speaks(request, wanted)));
  app.get('/system/df', (request, reply) => diskUsage(services, request, reply));
}

async function version({ info }: Services): Promise<VersionResponse> {
  const architecture = goArch();
  const details = {
    ApiVersion: apiVersion,
    Arch: architecture,
    BuildTime: '',
    Experimental: 'false',
    GitCommit: info.gitCommit,
    GoVersion: process.version,
    KernelVersion: release(),
    MinAPIVersion: minApiVersion,
    Os: 'linux',
  };
  const programs = [info.runtimes[info.defaultRuntime]?.path, info.monitorPath, info.initPath].filter((path) => path !== undefined);
  const found = (await Promise.all(programs.map(describeProgram))).filter((component) => component !== undefined);
  return {
    Platform: { Name: 'Slipway' },
    Components: [
      { Name: 'Engine', Version: info.version, Details: details },
      ...found.map(({ name, version, commit }) => ({ Name: name, Version: version, Details: { GitCommit: commit } })),
    ],
    Version: info.version,
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: info.gitCommit,
    GoVersion: process.version,
    Os: 'linux',
    Arch: architecture,
    KernelVersion: release(),
    BuildTime: '',
  };
}
