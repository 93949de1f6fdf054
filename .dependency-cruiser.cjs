/** The rooms of src/ and the one way in which imports go. See docs/ARCHITECTURE.md, "Rooms". */
const features = 'snapshot|build|buildkit|transport|registry|runtime|network|volumes|logging|secrets|trust|gc|plugins';
const only = (room, allowed) => ({
  name: `${room}-imports`,
  severity: 'error',
  comment: `src/${room} may import only: ${[room, ...allowed].join(', ')}`,
  from: { path: `^src/${room}/` },
  to: { path: '^src/', pathNot: `^src/(${[room, ...allowed].join('|')})/` },
});
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    only('base', []),
    only('kernel', ['base']),
    only('oci', ['base']),
    only('api-types', ['base', 'oci']),
    only('store', ['base', 'kernel', 'oci']),
    only('cli', ['base', 'oci', 'api-types']),
    only('build-api', ['api-types']),
    {
      name: 'features-do-not-import-the-shell',
      severity: 'error',
      from: { path: `^src/(${features})/` },
      to: { path: '^src/(api|daemon|cli)/' },
    },
    {
      name: 'features-reach-each-other-through-ports',
      severity: 'error',
      comment: 'A feature sees another one through its port.ts only.',
      from: { path: `^src/(${features})/` },
      to: { path: `^src/(${features})/`, pathNot: ['^src/$1/', '/port\\.ts$'] },
    },
    { name: 'api-sees-ports', severity: 'error', from: { path: '^src/api/' }, to: { path: `^src/(${features})/`, pathNot: '/port\\.ts$' } },
    { name: 'api-does-not-import-the-daemon', severity: 'error', from: { path: '^src/api/' }, to: { path: '^src/(daemon|cli)/' } },
    { name: 'daemon-does-not-import-the-cli', severity: 'error', from: { path: '^src/daemon/' }, to: { path: '^src/cli/' } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.test\\.ts$' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.cjs', '.json'] },
  },
};
