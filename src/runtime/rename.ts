import { EngineError } from '../base/errors.ts';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';
import { checkName } from './names.ts';
import { noSuchContainer } from './registry.ts';

/** `docker rename`; its neighbours on user-defined networks find it by the new name. Conflict `NAME_IN_USE`; InvalidArgument for a name that cannot be, or is the container's already. */
export async function renameContainer(context: EngineContext, container: Container, to: string): Promise<void> {
  const { registry } = context;
  const plain = checkName(to.replace(/^\//, ''));
  if (plain === container.record.name)
    throw new EngineError('InvalidArgument', 'NAME_UNCHANGED', 'Renaming a container with the same name as its current name');
  await registry.claimName(plain, container.id);
  const oldName = await container.exclusive(async () => {
    const { name } = container.record;
    try {
      if (container.removed) throw noSuchContainer(container.id);
      container.record.name = plain;
      await registry.save(container);
    } catch (error) {
      container.record.name = name;
      registry.releaseName(plain, container.id);
      throw error;
    }
    registry.releaseName(name, container.id);
    await context.networks.rename(container.id, plain);
    return name;
  });
  context.emit(container, 'rename', { oldName: `/${oldName}` });
}
