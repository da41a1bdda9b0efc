#include <stdio.h>

#include <sodium.h>

#include "unit.h"

int unit_setup(void **state)
{
        (void)state;
        return sodium_init() < 0 ? -1 : 0;
}

Bytes unhex(const char *hex)
{
        Bytes b = {};
        size_t n = strlen(hex);
        const char *end = NULL;

        assert_int_equal(sodium_hex2bin(b.data, sizeof(b.data), hex, n, NULL, &b.len, &end), 0);
        assert_ptr_equal(end, hex + n);
        return b;
}

void assert_bytes(const uint8_t *got, size_t len, Bytes expect)
{
        assert_int_equal(len, expect.len);
        if (len)
                assert_memory_equal(got, expect.data, len);
}

/* Objects that stand in arrays, at any depth. */
static size_t count_cases(json_t *value)
{
        size_t i, n = 0;
        const char *key;
        json_t *v;

        if (json_typeof(value) == JSON_ARRAY)
                json_array_foreach(value, i, v) n +=
                        count_cases(v) + (json_typeof(v) == JSON_OBJECT);
        else if (json_typeof(value) == JSON_OBJECT)
                json_object_foreach(value, key, v) n += count_cases(v);
        return n;
}

Vectors vectors_load(const char *name)
{
        Vectors v = {.name = name};
        json_error_t error;
        char path[4096];

        assert_in_range(snprintf(path, sizeof(path), "%s/%s.json", TEST_DATA_DIR, name), 1,
                        sizeof(path) - 1);
        v.root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        if (!v.root)
                fail_msg("%s: %s", path, error.text);
        v.total = count_cases(v.root);
        return v;
}

void vectors_each(Vectors *v, json_t *object, const char *list, VectorCase f)
{
        json_t *cases = json_object_get(object ? object : v->root, list), *c;
        size_t i;

        assert_true(cases && json_typeof(cases) == JSON_ARRAY);
        assert_true(json_array_size(cases) > 0);
        json_array_foreach(cases, i, c)
        {
                const char *name = case_str_or_null(c, "name");

                if (name)
                        print_message("  %s, %s: %s\n", v->name, list, name);
                v->taken++;
                f(v, c);
        }
}

void vectors_done(Vectors *v)
{
        if (v->taken != v->total)
                fail_msg("%s holds %zu cases, %zu were replayed", v->name, v->total, v->taken);
        json_decref(v->root);
        v->root = NULL;
}

const char *case_str_or_null(json_t *c, const char *name)
{
        return json_string_value(json_object_get(c, name));
}

const char *case_str(json_t *c, const char *name)
{
        const char *s = case_str_or_null(c, name);

        if (!s)
                fail_msg("the vector has no string %s", name);
        return s;
}

Bytes case_hex(json_t *c, const char *name)
{
        return unhex(case_str(c, name));
}
