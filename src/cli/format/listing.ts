import { text } from '../flags.ts';
import type { Output } from '../output.ts';
import { renderTable } from './table.ts';
import { compileTemplate } from './template.ts';
import { unescapeFormat } from './template-lexer.ts';

/** `{{.Label "tier"}}` */
export type RowMethod = (argument: string) => string;
/** A row of a listing: every field as text, as Docker's templates and `--format json` see it. */
export type Row = Readonly<Record<string, string | RowMethod>>;

/** Labels in a row: all of them joined, and one by its name. */
export function labelFields(labels: Readonly<Record<string, string>> | null | undefined) {
  const all = Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`);
  return { Labels: all.join(','), Label: (name: string) => labels?.[name] ?? '' };
}

export type Columns = {
  /** The fields that a table shows, in order. */
  readonly table: readonly string[];
  /** Titles of fields in tables; a field without one is titled by its name in capitals. */
  readonly titles?: Readonly<Record<string, string>> | undefined;
  /** The field that `-q` prints. */
  readonly quiet?: string | undefined;
};

export const formatFlag = text('json, table, or a Go template such as "{{.ID}} {{.Names}}"', { value: 'FORMAT' });

/**
 * Prints rows as `--format` says: a table with titles; `json`, one object a line; a template for each row; `table TEMPLATE`, the template's cells (between tabs) as a
 * table with titles. Throws `USAGE` for a template that it does not understand, even when there is no row.
 */
export function printListing(
  output: Pick<Output, 'write'>,
  rows: readonly Row[],
  columns: Columns,
  options: { format?: string | undefined; quiet?: boolean | undefined },
): void {
  const { format } = options;
  if (options.quiet && columns.quiet !== undefined && (format === undefined || format === 'table')) {
    const field = columns.quiet;
    output.write(rows.map((row) => `${row[field]}\n`).join(''));
  } else if (format === undefined || format === '' || format === 'table') {
    output.write(
      renderTable([
        columns.table.map((field) => titleOf(columns, field)),
        ...rows.map((row) => columns.table.map((field) => oneLine(String(row[field] ?? '')))),
      ]),
    );
  } else if (format === 'json') output.write(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  else if (/^table\s/.test(format)) printTemplateTable(output, rows, columns, unescapeFormat(format.slice('table'.length).trimStart()));
  else {
    const render = compileTemplate(unescapeFormat(format), { strict: true });
    output.write(rows.map((row) => `${render(row)}\n`).join(''));
  }
}

/** The titles are what the template makes of a row whose fields hold them. */
function printTemplateTable(output: Pick<Output, 'write'>, rows: readonly Row[], columns: Columns, template: string): void {
  const render = compileTemplate(template, { strict: rows.length > 0 });
  const fields = new Set([...Object.keys(rows[0] ?? {}), ...columns.table, ...Object.keys(columns.titles ?? {})]);
  const Label: RowMethod = (name) => (name.split('.').at(-1) ?? '').replace(/[-_]/g, ' ');
  const titles = { ...Object.fromEntries([...fields].map((field) => [field, titleOf(columns, field)])), Label };
  output.write(renderTable([titles, ...rows].map((row) => render(row).split('\t').map(oneLine))));
}

function titleOf(columns: Columns, field: string): string {
  return columns.titles?.[field] ?? field.replace(/([a-z])([A-Z])/g, '$1 $2').toUpperCase();
}

/** A name from outside must not be able to draw on the terminal. */
function oneLine(cell: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return cell.replace(/[\u0000-\u001f\u007f]/g, ' ');
}
