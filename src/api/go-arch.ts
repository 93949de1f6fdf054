import { arch } from 'node:os';

/** Go's names for the machine, as Docker's clients expect them. */
const goNames: Record<string, string> = { x64: 'amd64', arm64: 'arm64', arm: 'arm', riscv64: 'riscv64', s390x: 's390x', ppc64: 'ppc64le' };
const kernelNames: Record<string, string> = { x64: 'x86_64', arm64: 'aarch64' };

export function goArch(): string {
  return goNames[arch()] ?? arch();
}

/** As `uname -m` has it. */
export function kernelArch(): string {
  return kernelNames[arch()] ?? arch();
}
