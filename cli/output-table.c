#include "output.h"
#include "text.h"

int output_json(const Cli *cli, const json_t *document)
{
        _cleanup_(freep) char *text = json_dumps(document, JSON_COMPACT);

        if (!text)
                return output_no_memory(cli);
        puts(text);
        return EXIT_OK;
}

/* The items of an array, separated by ", ". */
static char *list_text(const json_t *list)
{
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        for (size_t i = 0; i < json_array_size(list); i++) {
                const char *item = json_string_value(json_array_get(list, i));
                fprintf(f, "%s%s", i ? ", " : "", item ? item : "?");
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

/* A value as people read it, a new string; absent ones are "-". NULL: out of memory. */
static char *value_text(const json_t *v)
{
        char *text = NULL, *clean;

        if (!v || json_is_null(v))
                return strdup("-");
        if (json_is_boolean(v))
                return strdup(json_is_true(v) ? "yes" : "no");
        if (json_is_string(v))
                return text_clean(json_string_value(v), json_string_length(v));
        if (!json_is_array(v))
                return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        text = list_text(v);
        clean = text ? text_clean(text, strlen(text)) : NULL;
        free(text);
        return clean;
}

/* Columns on a terminal: one a character, which is right for all but the widest scripts. */
static size_t width(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += ((unsigned char)*text & 0xc0) != 0x80;
        return n;
}

static void print_padded(const char *text, size_t columns)
{
        fputs(text, stdout);
        for (size_t n = width(text); n < columns; n++)
                putchar(' ');
}

/* A grid of cells, row by row; the first row holds the titles. */
typedef struct Grid {
        size_t n_rows, n_columns;
        char **cells;
        size_t *widths;
} Grid;

static void grid_done(Grid *g)
{
        for (size_t i = 0; g->cells && i < g->n_rows * g->n_columns; i++)
                free(g->cells[i]);
        free(g->cells);
        free(g->widths);
}

static bool grid_fill(Grid *g, const json_t *rows, const Field *fields, size_t n_fields)
{
        g->n_rows = json_array_size(rows) + 1;
        g->n_columns = n_fields;
        g->cells = calloc(g->n_rows * n_fields, sizeof(*g->cells));
        g->widths = calloc(n_fields, sizeof(*g->widths));
        if (!g->cells || !g->widths)
                return false;
        for (size_t i = 0; i < g->n_rows * n_fields; i++) {
                const Field *f = &fields[i % n_fields];
                const json_t *row = i < n_fields ? NULL : json_array_get(rows, i / n_fields - 1);
                g->cells[i] = row ? value_text(json_object_get(row, f->member)) : strdup(f->title);
                if (!g->cells[i])
                        return false;
                g->widths[i % n_fields] = MAX(g->widths[i % n_fields], width(g->cells[i]));
        }
        return true;
}

int output_table(const Cli *cli, const json_t *rows, const Field *fields, size_t n_fields,
                 const char *indent)
{
        _cleanup_(grid_done) Grid g = {};

        if (json_array_size(rows) == 0)
                return EXIT_OK;
        if (!grid_fill(&g, rows, fields, n_fields))
                return output_no_memory(cli);
        for (size_t row = 0; row < g.n_rows; row++) {
                fputs(indent, stdout);
                for (size_t i = 0; i + 1 < n_fields; i++)
                        print_padded(g.cells[row * n_fields + i], g.widths[i] + 2);
                puts(g.cells[row * n_fields + n_fields - 1]);
        }
        return EXIT_OK;
}

int output_record(const Cli *cli, const json_t *object, const Field *fields, size_t n_fields,
                  const char *indent)
{
        size_t widest = 0;

        for (size_t i = 0; i < n_fields; i++)
                widest = MAX(widest, width(fields[i].title));
        for (size_t i = 0; i < n_fields; i++) {
                const json_t *v = json_object_get(object, fields[i].member);
                if (!v || json_is_null(v))
                        continue;
                _cleanup_(freep) char *text = value_text(v);
                if (!text)
                        return output_no_memory(cli);
                fputs(indent, stdout);
                print_padded(fields[i].title, widest + 2);
                puts(text);
        }
        return EXIT_OK;
}
