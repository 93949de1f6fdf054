import { fromBinary } from '@bufbuild/protobuf';
import { BytesMessageSchema } from '../gen/filesync_pb.ts';
import { malformed } from './frames.ts';

/** The bytes of a `BytesMessage`, of which there are several of one form. */
export function messageData(message: Uint8Array): Uint8Array {
  try {
    return fromBinary(BytesMessageSchema, message).data;
  } catch (error) {
    throw malformed(`a message cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}
