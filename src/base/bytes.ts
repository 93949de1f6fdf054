/**
 * File names are bytes, not text. Inside the engine a name or path from a file system, tar or tree is a `ByteString`: a JavaScript
 * string with one character (U+0000..U+00FF) a byte. It costs one byte a character in V8, compares with `<` in bytewise order, and never
 * loses a name that is not UTF-8.
 */
export type ByteString = string & { readonly __byteString: true };

/** UTF-8 text (from a user, a Dockerfile, JSON) to bytes. ASCII, nearly always the case, costs nothing. */
export function toBytes(text: string): ByteString {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole ASCII range is meant
  return (/^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')) as ByteString;
}

/** Bytes to text for people; what is not UTF-8 becomes U+FFFD. Never use the result to open a file. */
export function toText(bytes: ByteString): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole ASCII range is meant
  return /^[\x00-\x7f]*$/.test(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString('utf8');
}

/** The form that node:fs takes for a path that may not be UTF-8. */
export function toPathBuffer(bytes: ByteString): Buffer {
  return Buffer.from(bytes, 'latin1');
}

export function fromBuffer(buffer: Uint8Array): ByteString {
  return Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString('latin1') as ByteString;
}
