/** A package that is installed in a tree. */
export type Package = {
  readonly name: string;
  readonly version: string;
  readonly kind: 'deb' | 'apk' | 'rpm' | 'npm' | 'pypi' | 'golang';
  /** Who distributes it: the distribution's ID in os-release. */
  readonly namespace?: string | undefined;
  readonly architecture?: string | undefined;
  /** SPDX licence expression, or what the database says instead of one. */
  readonly license?: string | undefined;
  readonly supplier?: string | undefined;
  readonly homepage?: string | undefined;
  /** Name and version of the source package, where they differ. */
  readonly source?: string | undefined;
  /** Where it was found. */
  readonly path: string;
};

/** What a reader of a package database sees of the tree. */
export type DatabaseFile = { readonly path: string; readonly text: string };
