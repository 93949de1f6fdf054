import { isErrno } from '../base/errors.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import type { AttachedEndpoint } from './attachments.ts';
import { type Family, type IpAddress, parseIp } from './ip.ts';
import { deleteDefaultRoute, setDefaultRoute } from './netlink/messages.ts';
import { gatewayEndpoint } from './topology.ts';

/** The default routes that the endpoints call for, in the place of those that are there. */
export async function setDefaultRoutes(netns: string, endpoints: readonly AttachedEndpoint[]): Promise<void> {
  const routes = wantedRoutes(endpoints);
  if (routes.length === 0) return;
  using inside = new NetlinkSocket('route', netns);
  await inside.request(routes.map(({ name, gateway, family }) => setDefaultRoute(inside.indexOf(name), gateway, family)));
}

/** Takes them away; a no-op where they are gone. */
export async function clearDefaultRoutes(netns: string, endpoints: readonly AttachedEndpoint[]): Promise<void> {
  using inside = new NetlinkSocket('route', netns);
  for (const { name, gateway, family } of wantedRoutes(endpoints)) {
    try {
      await inside.request([deleteDefaultRoute(inside.indexOf(name), gateway, family)]);
    } catch (error) {
      if (!isErrno(error, 'ENODEV', 'ESRCH', 'ENETUNREACH')) throw error;
    }
  }
}

function wantedRoutes(endpoints: readonly AttachedEndpoint[]): { family: Family; name: string; gateway: IpAddress }[] {
  return ([4, 6] as const).flatMap((family) => {
    const endpoint = gatewayEndpoint(endpoints, family);
    const gateway = parseIp((family === 4 ? endpoint?.gateway : endpoint?.ipv6Gateway) ?? '');
    return endpoint === undefined || gateway === undefined ? [] : [{ family, gateway, name: endpoint.interface }];
  });
}
