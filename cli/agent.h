/* The agent, as the verbs see it: one connection, calls with documents, and its errors in words. */
#pragma once

#include <jansson.h>

#include <linkipc.h>
#include "output.h"
#include "verb.h"

static inline void agent_unrefp(linkipc **l)
{
        (void)linkipc_unref(*l); /* returns NULL */
}
#define _cleanup_link_ _cleanup_(agent_unrefp)

static inline void agent_session_unrefp(linkipc_session **s)
{
        (void)linkipc_session_unref(*s); /* returns NULL */
}
#define _cleanup_session_ _cleanup_(agent_session_unrefp)

static inline void agent_json_freep(json_t **v)
{
        json_decref(*v);
}
#define _cleanup_json_ _cleanup_(agent_json_freep)

/* From now on jansson wipes what it frees: documents hold pairing codes. */
void agent_wipe_json(void);

/* Connects as the options say; waits START_WAIT_MSEC for an agent that was just started. EXIT_OK,
 * or EXIT_FAILED after telling. */
int agent_open(const Cli *cli, linkipc **ret);

/* For what the agent can only be asked again: a clock, and POLL_MSEC of sleep. */
uint64_t agent_clock_msec(void);
void agent_pause(void);

/* Tells the failure r of the last operation on l; what (may be NULL) names the object, as in "peer
 * home". Returns EXIT_FAILED, or EXIT_USAGE if the agent has found fault with what was typed. */
int agent_failed(const Cli *cli, const linkipc *l, int r, const char *what);
/* The same with an error as linkipc tells it. */
int agent_told(const Cli *cli, int error, const char *word, const char *message, const char *what);
/* The connection has ended under a verb that wanted to go on. Returns EXIT_FAILED. */
int agent_lost(const Cli *cli, const linkipc *l);

/* For the notify handler of a verb that serves a host. -1: this is about something else;
 * EXIT_FAILED: the host is not served any more, which has been told. */
int agent_unserved(const Cli *cli, const char *topic, const char *json);

/* Calls a method with params, which are taken over (NULL: they could not be made for want of
 * memory). *ret (may be NULL): the answer, an object. EXIT_OK, or EXIT_FAILED after telling. */
int agent_call(const Cli *cli, const char *method, json_t *params, json_t **ret);

/* The same over an open connection, params as text. */
int agent_call_on(const Cli *cli, linkipc *l, const char *method, const char *params, json_t **ret);

/* Calls a method and prints a list that its answer holds: with --json the array, else a table, or
 * the line `none` where it is empty. params as for agent_call. */
int agent_print_list(const Cli *cli, const char *method, json_t *params, const char *member,
                     const Field *fields, size_t n_fields, const char *none);
