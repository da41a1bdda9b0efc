/* What others make this agent keep in memory: messages that have begun to come and are not whole,
 * and messages that wait for an application to take them. Each is bounded by itself; this bounds
 * all of them together. Above HOARD_BYTES_MAX whoever has the most, a device or a host this machine
 * has paired with, loses the session that keeps the most of it, until it is enough. */
#pragma once

#include "agent.h"

int hoard_new(Hoard **ret, Agent *a) _must_use_;
/* No session is ended any more; counting goes on. NULL is fine. */
void hoard_stop(Hoard *h);
/* NULL is fine. */
Hoard *hoard_free(Hoard *h);
/* Somebody keeps now bytes instead of *counted, which is brought up to date. What is too much ends
 * later, not on this stack. */
void hoard_count(Hoard *h, size_t *counted, size_t now);
