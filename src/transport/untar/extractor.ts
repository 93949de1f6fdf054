import type { ByteString } from '../../base/bytes.ts';
import type { EngineError } from '../../base/errors.ts';
import { showName, tarError } from '../../oci/tar/member.ts';
import type { MetTarMember, TarSink } from '../../oci/tar/reader.ts';
import { EntryType, type Meta } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { limits } from '../../store/tree/codec.ts';
import { nameProblem } from '../../store/tree/names.ts';
import { contentSink } from './content.ts';
import type { Directory, Leaf, LeafFields, MutableTree, TreeNode } from './mutable-tree.ts';
import { leavesRoot, NeedsLower, PathProblem, resolveDirectory, splitMemberName } from './resolve.ts';
import { aufsLinks, aufsPrefix, isWhiteoutName, opaqueWhiteout, whiteoutOf, whiteoutPrefix } from './whiteouts.ts';

/** Of the files that stand for deletions in a layer's own tree. */
const whiteoutMeta: Meta = { mode: 0, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };
/** A tree is held in memory while it is put together. */
const maxMembers = 5_000_000;

export type ExtractorOptions = {
  /** Names the archive in errors. */
  what: string;
  /** `layer`: `.wh.` names and 0:0 devices are whiteouts (image-spec layer.md, "Whiteouts"). `plain`: they are nothing special, and 0:0 devices are refused. */
  kind: 'layer' | 'plain';
  /** A layer is read for itself, into a tree made from nothing: deletions become files of it, and what only the layers below can tell throws NeedsLower. */
  alone?: boolean | undefined;
  /** Where the archive's root lies in the tree. */
  root: Directory;
  /** The archive's own root entry gives the root directory its metadata. */
  ownsRoot: boolean;
  /** Greater for each layer. */
  generation: number;
  owner?: { uid: number; gid: number } | undefined;
};

/** Puts the members of one archive into a tree. Later ones win over earlier ones. Errors name the member and its place. */
export class Extractor {
  readonly #context: TreeContext;
  readonly #tree: MutableTree;
  readonly #options: ExtractorOptions;
  #members = 0;
  /** AUFS's files with several names, by the name that it gave them. */
  readonly #aufsFiles = new Map<ByteString, Leaf>();

  constructor(context: TreeContext, tree: MutableTree, options: ExtractorOptions) {
    this.#context = context;
    this.#tree = tree;
    this.#options = options;
  }

  /** The handler of a TarReader. */
  readonly member = (member: MetTarMember): TarSink | undefined => {
    try {
      if (++this.#members > maxMembers) throw new PathProblem(`it is one of more than ${maxMembers} entries`);
      return this.#place(member);
    } catch (error) {
      throw error instanceof PathProblem ? this.#error(member, error.message) : error;
    }
  };

  #place(member: MetTarMember): TarSink | undefined {
    const names = splitMemberName(member.name);
    const name = names.pop();
    if (name === undefined) {
      this.#placeRoot(member);
      return undefined;
    }
    if (this.#options.kind === 'layer') {
      if (names.some((part) => part.startsWith(aufsPrefix))) return this.#keepAufsFile(member, names, name);
      if (this.#isWhiteout(member, name)) {
        this.#placeWhiteout(names, name);
        return undefined;
      }
    }
    if (member.type === 'link') {
      this.#placeLink(member, names, name);
      return undefined;
    }
    const parent = this.#parent(names);
    if (member.type === 'directory') {
      this.#placeDirectory(parent, name, this.#meta(member));
      return undefined;
    }
    if (member.type !== 'file') {
      this.#placeLeaf(parent, name, this.#specialFields(member, parent));
      return undefined;
    }
    const meta = this.#meta(member);
    return contentSink(this.#context, member, ({ object, size }) =>
      this.#placeLeaf(parent, name, { ...meta, type: EntryType.file, object, size }),
    );
  }

  #placeRoot(member: MetTarMember): void {
    if (member.type !== 'directory') throw new PathProblem(`it is the root, and not a directory but a ${member.type}`);
    const { ownsRoot, root, generation } = this.#options;
    if (!ownsRoot) return;
    root.meta = this.#meta(member);
    root.named = generation;
  }

  #placeDirectory(parent: Directory, name: ByteString, meta: Meta): void {
    const { generation } = this.#options;
    const existing = this.#tree.children(parent).get(name);
    if (existing?.kind === 'directory') {
      existing.meta = meta;
      existing.generation = generation;
      existing.named = generation;
      return;
    }
    const made = this.#tree.makeDirectory(parent, name, meta, generation, true);
    // The file of this name had taken the place of all that was below.
    if (this.#options.alone && existing !== undefined) this.#recordWhiteout(made, opaqueWhiteout);
  }

  #placeLeaf(parent: Directory, name: ByteString, fields: LeafFields): void {
    this.#tree.children(parent).set(name, { kind: 'leaf', fields, generation: this.#options.generation, shared: false });
  }

  #placeLink(member: MetTarMember, names: readonly ByteString[], name: ByteString): void {
    const targetNames = this.#linkNames(member);
    const targetName = targetNames.pop();
    const aufsFile = this.#aufsFile(targetNames, targetName);
    const directory = aufsFile === undefined ? this.#resolve(targetNames, false) : undefined;
    const target = aufsFile ?? this.#childOf(directory, targetName);
    const { alone } = this.#options;
    if (target === undefined) {
      if (alone) throw new NeedsLower(`${showName(member.name)} is a hard link to ${showName(member.linkTarget)} of a layer below`);
      throw new PathProblem(`a hard link to ${showName(member.linkTarget)}, which is not in the archive before it`);
    }
    if (target.kind === 'directory') {
      if (alone && target.named === 0) throw new NeedsLower('a hard link leads to what may be a directory');
      throw new PathProblem(`a hard link to ${showName(member.linkTarget)}, which is a directory`);
    }
    const parent = this.#parent(names);
    if (parent === directory && name === targetName) return;
    target.shared = true;
    this.#tree.children(parent).set(name, target);
  }

  #childOf(directory: Directory | undefined, name: ByteString | undefined): TreeNode | undefined {
    if (directory === undefined || name === undefined || (this.#options.alone && isWhiteoutName(name))) return undefined;
    return this.#tree.children(directory).get(name);
  }

  /** AUFS kept a file with several names under a number, and its names as links to that. Nothing else of its own is part of the image. */
  #keepAufsFile(member: MetTarMember, names: readonly ByteString[], name: ByteString): TarSink | undefined {
    if (member.type !== 'file' || names.length !== 1 || names[0] !== aufsLinks) return undefined;
    const meta = this.#meta(member);
    const { generation } = this.#options;
    return contentSink(this.#context, member, ({ object, size }) =>
      this.#aufsFiles.set(name, { kind: 'leaf', fields: { ...meta, type: EntryType.file, object, size }, generation, shared: false }),
    );
  }

  #aufsFile(names: readonly ByteString[], name: ByteString | undefined): Leaf | undefined {
    return name !== undefined && names.length === 1 && names[0] === aufsLinks ? this.#aufsFiles.get(name) : undefined;
  }

  #linkNames(member: MetTarMember): ByteString[] {
    try {
      return splitMemberName(member.linkTarget);
    } catch (error) {
      if (!(error instanceof PathProblem)) throw error;
      throw new PathProblem(`a hard link to ${showName(member.linkTarget)}, which could lead out of the root`);
    }
  }

  #specialFields(member: MetTarMember, parent: Directory): LeafFields {
    const meta = this.#meta(member);
    switch (member.type) {
      case 'symlink':
        if (member.linkTarget.length > limits.linkBytes) throw new PathProblem(`a symbolic link of more than ${limits.linkBytes} bytes`);
        // An image's own links are only text to the engine and are kept; a person's archive that climbs out is a mistake or an attack.
        if (this.#options.kind === 'plain' && leavesRoot(this.#options.root, parent, member.linkTarget)) {
          throw new PathProblem(`a symbolic link to ${showName(member.linkTarget)}, which leaves the root`);
        }
        return { ...meta, type: EntryType.symlink, target: member.linkTarget };
      case 'fifo':
        return { ...meta, type: EntryType.fifo };
      case 'charDevice':
        if (member.major === 0 && member.minor === 0)
          throw new PathProblem('a character device 0:0, which file systems read as a deleted file');
        return { ...meta, type: EntryType.charDevice, ...this.#deviceNumbers(member) };
      case 'blockDevice':
        return { ...meta, type: EntryType.blockDevice, ...this.#deviceNumbers(member) };
      default:
        throw new PathProblem(`of a type that has no place here: ${member.type}`);
    }
  }

  #deviceNumbers({ major, minor }: MetTarMember): { major: number; minor: number } {
    // The kernel's dev_t: 12 bits of major, 20 of minor.
    if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) throw new PathProblem(`a device ${major}:${minor}, which cannot be`);
    return { major, minor };
  }

  #isWhiteout(member: MetTarMember, name: ByteString): boolean {
    return name.startsWith(whiteoutPrefix) || (member.type === 'charDevice' && member.major === 0 && member.minor === 0);
  }

  #placeWhiteout(names: readonly ByteString[], name: ByteString): void {
    const { alone } = this.#options;
    if (name !== opaqueWhiteout && name.startsWith(aufsPrefix)) return;
    const hidden = (name.startsWith(whiteoutPrefix) ? name.slice(whiteoutPrefix.length) : name) as ByteString;
    if (hidden === '' || hidden === '.' || hidden === '..') throw new PathProblem('a whiteout of nothing');
    const directory = this.#resolve(names, alone ? 'absent' : false);
    if (directory === undefined) return;
    if (alone) this.#recordWhiteout(directory, name === opaqueWhiteout ? name : whiteoutOf(hidden));
    else if (name === opaqueWhiteout) this.#tree.purgeOlder(directory, this.#options.generation);
    else this.#hide(directory, hidden);
  }

  /** The layer's own entry of this name stays, whichever came first; only what lies below is hidden. */
  #hide(directory: Directory, name: ByteString): void {
    const { generation } = this.#options;
    const children = this.#tree.children(directory);
    const found = children.get(name);
    if (found === undefined) return;
    if (found.generation !== generation) children.delete(name);
    else if (found.kind === 'directory') this.#tree.purgeWhole(found, generation);
  }

  #recordWhiteout(directory: Directory, name: ByteString): void {
    if (nameProblem(name) !== undefined) throw new NeedsLower('a deletion has no name of its own');
    this.#placeLeaf(directory, name, { ...whiteoutMeta, type: EntryType.file, ...this.#context.putBytes(new Uint8Array()) });
  }

  #parent(names: readonly ByteString[]): Directory {
    const parent = this.#resolve(names, true);
    if (parent === undefined) throw new PathProblem('its directory cannot be made');
    return parent;
  }

  #resolve(names: readonly ByteString[], create: boolean | 'absent'): Directory | undefined {
    const { root, generation, kind, alone, owner } = this.#options;
    return resolveDirectory(this.#tree, root, names, { create, generation, overlay: kind === 'layer', alone, owner });
  }

  #meta(member: MetTarMember): Meta {
    const { uid, gid } = this.#options.owner ?? member;
    for (const [kind, id] of [
      ['owner', uid],
      ['group', gid],
    ] as const) {
      if (id < 0 || id > limits.id) throw new PathProblem(`its ${kind} ${id} is not between 0 and ${limits.id}`);
    }
    if (Math.abs(member.mtimeSec) > limits.seconds) throw new PathProblem(`its time ${member.mtimeSec} is out of range`);
    for (const [name, value] of member.xattrs) {
      if (name.length === 0 || name.length > 255 || name.includes('\0'))
        throw new PathProblem(`its xattr ${showName(name)} has a name that cannot be`);
      if (value.length > limits.xattrValueBytes)
        throw new PathProblem(`its xattr ${showName(name)} has ${value.length} bytes, at most ${limits.xattrValueBytes}`);
    }
    const { mode, mtimeSec, mtimeNsec, xattrs } = member;
    return { mode, uid, gid, mtimeSec, mtimeNsec, ...(xattrs.length === 0 ? {} : { xattrs }) };
  }

  #error(member: MetTarMember, problem: string): EngineError {
    return tarError({ what: this.#options.what, name: member.name, offset: member.offset }, problem, 'TAR_UNSAFE');
  }
}
