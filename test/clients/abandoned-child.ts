/** A test run with Testcontainers that is going to be killed: prints the ids of what it leaves behind, and waits. */
import { GenericContainer, Network } from 'testcontainers';

const network = await new Network().start();
const container = await new GenericContainer('bb:1').withCommand(['sleep', '1000']).withNetwork(network).start();
process.stdout.write(`${JSON.stringify({ network: network.getId(), container: container.getId() })}\n`);
setInterval(() => undefined, 1_000);
