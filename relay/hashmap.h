/* An intrusive hash table with chains. Keyed (SipHash), since strangers choose the keys. */
#pragma once

#include "liblinkproto/util.h"

typedef struct HashNode {
        struct HashNode *next;
        uint64_t hash;
} HashNode;

typedef struct HashMap {
        HashNode **buckets;
        size_t n_buckets; /* a power of two */
        size_t n;
        uint8_t key[16];
} HashMap;

/* 0 or -ENOMEM. */
int hashmap_init(HashMap *m) _must_use_;
/* Frees the table, not what is in it. */
void hashmap_done(HashMap *m);
uint64_t hashmap_hash(const HashMap *m, const void *key, size_t len);
/* The first node with that hash at or behind `from` (NULL: from the start of its chain); the caller
 * compares keys. NULL: none. */
HashNode *hashmap_next(const HashMap *m, uint64_t hash, const HashNode *from);
/* Enters a node whose hash is set. 0 or -ENOMEM. */
int hashmap_add(HashMap *m, HashNode *node, uint64_t hash) _must_use_;
/* node is in the table. */
void hashmap_remove(HashMap *m, HashNode *node);

/* Walks the nodes with a hash. */
#define HASHMAP_FOREACH(node, m, h)                                                                \
        for (HashNode *node = hashmap_next(m, h, NULL); node; node = hashmap_next(m, h, node))
