import type { Store } from '../../src/store/port.ts';
import { StoreChunkedForm } from '../../src/transport/chunked/service.ts';
import { StoreLayerMaker } from '../../src/transport/layers/maker.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';

/** What images are made of and sent with, over a store. */
export function transportParts(store: Store) {
  return { store, registries: new RegistryClient({}), layers: new StoreLayerMaker(store), chunked: new StoreChunkedForm(store) };
}
