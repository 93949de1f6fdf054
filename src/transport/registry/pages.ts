import { EngineError } from '../../base/errors.ts';
import type { HttpAnswer } from './answer.ts';
import type { Call, Endpoint } from './endpoint.ts';

const maxPages = 1000;
const maxPageBytes = 8 * 1024 * 1024;

/**
 * The JSON documents of a list in pages, the next of which is in the header Link (RFC 8288; distribution-spec, "Listing Tags"). `check` throws for an
 * answer that is none. Unavailable `REGISTRY_ANSWER_INVALID` for pages that lead elsewhere or have no end.
 */
export async function* pages(
  endpoint: Endpoint,
  call: Call,
  check: (answer: HttpAnswer) => Promise<void>,
): AsyncGenerator<Record<string, unknown>, void, undefined> {
  const seen = new Set<string>();
  let path: Call['path'] = call.path;
  for (let page = 0; page < maxPages; page++) {
    await using answer = await endpoint.call({ ...call, path });
    await check(answer);
    yield parsePage(await answer.read(maxPageBytes), call);
    const next = nextPage(answer);
    if (next === undefined) return;
    if (next.host !== answer.url.host || seen.has(next.href))
      throw invalid(call, `a list's next page leads ${seen.has(next.href) ? 'back' : 'elsewhere'}`);
    seen.add(next.href);
    path = next;
  }
  throw invalid(call, `a list has more than ${maxPages} pages`);
}

/** `</v2/web/tags/list?last=b>; rel="next"`. */
function nextPage(answer: HttpAnswer): URL | undefined {
  const { link } = answer.headers;
  const match = /<([^>]{1,4096})>\s*;[^,]*\brel="?next"?/i.exec(typeof link === 'string' ? link.slice(0, 8192) : '');
  const next = match?.[1] === undefined ? null : URL.parse(match[1], answer.url);
  if (next === null) return undefined;
  if (next.host === answer.url.host) next.protocol = answer.url.protocol;
  return next;
}

function parsePage(bytes: Buffer, call: Call): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw invalid(call, 'a list is not JSON', cause);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid(call, 'a list is not a JSON object');
  return json as Record<string, unknown>;
}

function invalid({ asked }: Call, why: string, cause?: unknown): EngineError {
  return new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `${asked.name}: ${asked.host}: ${why}`, { cause });
}
