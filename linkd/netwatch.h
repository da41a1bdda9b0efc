/* Notices what makes every connection doubtful: the machine was suspended or the process stopped
 * (CLOCK_BOOTTIME against CLOCK_MONOTONIC, and a gap between two ticks of the loop), or links,
 * addresses or routes have changed (rtnetlink). Then it calls agent_probe; between, it lets
 * sessions be looked at every NETWATCH_TICK_MSEC. */
#pragma once

#include "agent.h"

/* 0 or negative errno. Where there is no rtnetlink it watches the clocks alone, and says so. */
int netwatch_new(NetWatch **ret, Agent *a) _must_use_;
NetWatch *netwatch_free(NetWatch *w);
