#include "relay/hashmap.h"
#include "tests/unit/unit.h"

enum { N = 5000 };

typedef struct Item {
        HashNode node;
        uint32_t key;
} Item;

static Item *find(const HashMap *m, uint32_t key)
{
        HASHMAP_FOREACH(node, m, hashmap_hash(m, &key, sizeof(key)))
        {
                Item *i = container_of(node, Item, node);

                if (i->key == key)
                        return i;
        }
        return NULL;
}

static void add_find_remove(void **state)
{
        Item *items = calloc(N, sizeof(*items));
        HashMap m;
        (void)state;

        assert_non_null(items);
        assert_int_equal(hashmap_init(&m), 0);
        assert_null(find(&m, 0));
        for (uint32_t i = 0; i < N; i++) {
                items[i].key = i;
                assert_int_equal(hashmap_add(&m, &items[i].node, hashmap_hash(&m, &i, sizeof(i))),
                                 0);
                assert_int_equal(m.n, i + 1);
                assert_true(m.n <= m.n_buckets); /* chains stay short */
        }
        for (uint32_t i = 0; i < N; i++)
                assert_ptr_equal(find(&m, i), &items[i]);
        for (uint32_t i = 0; i < N; i += 2)
                hashmap_remove(&m, &items[i].node);
        assert_int_equal(m.n, N / 2);
        for (uint32_t i = 0; i < N; i++)
                assert_ptr_equal(find(&m, i), i % 2 ? &items[i] : NULL);
        assert_null(find(&m, N));
        hashmap_done(&m);
        free(items);
}

/* Nodes of one hash are all walked, and one of them can be taken out anywhere in the chain. */
static void equal_hashes(void **state)
{
        Item items[4] = {};
        HashMap m;
        (void)state;

        for (size_t gone = 0; gone < ELEMENTSOF(items); gone++) {
                unsigned seen = 0;

                assert_int_equal(hashmap_init(&m), 0);
                for (uint32_t i = 0; i < ELEMENTSOF(items); i++) {
                        items[i].key = i;
                        assert_int_equal(hashmap_add(&m, &items[i].node, 7), 0);
                }
                hashmap_remove(&m, &items[gone].node);
                HASHMAP_FOREACH(node, &m, 7)
                {
                        seen |= 1u << container_of(node, Item, node)->key;
                }
                assert_int_equal(seen, 0xf & ~(1u << gone));
                assert_null(hashmap_next(&m, 7 + m.n_buckets, NULL)); /* same chain, other hash */
                hashmap_done(&m);
        }
}

static void keyed(void **state)
{
        HashMap a, b;
        (void)state;

        assert_int_equal(hashmap_init(&a), 0);
        assert_int_equal(hashmap_init(&b), 0);
        assert_int_equal(hashmap_hash(&a, "key", 3), hashmap_hash(&a, "key", 3));
        assert_int_not_equal(hashmap_hash(&a, "key", 3), hashmap_hash(&b, "key", 3));
        hashmap_done(&a);
        hashmap_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(add_find_remove),
                cmocka_unit_test(equal_hashes),
                cmocka_unit_test(keyed),
        };

        return unit_run(tests);
}
