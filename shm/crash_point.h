/*
 * crash_point -- numbered places where a test may kill the writer, or step in
 * between two loads of a reader.
 *
 * Nothing in a normal build.  A test that defines BUS_CRASH_POINTS, and then
 * includes the sources, gets a call to its own bus_crash_point().
 */
#ifndef SHM_CRASH_POINT_H
#define SHM_CRASH_POINT_H

enum bus_crash_point {
	BUS_CRASH_ROLE_DIR = 1,
	BUS_CRASH_OWNER,
	BUS_CRASH_SWEPT,
	BUS_CRASH_LINKED, /* the predecessor has a temporary second name */
	BUS_CRASH_KEPT,	  /* … and its own */
	BUS_CRASH_TEMP,
	BUS_CRASH_LOCKED,
	BUS_CRASH_ALLOCATED,
	BUS_CRASH_MAPPED,
	BUS_CRASH_FILLED,
	BUS_CRASH_COMPLETE,
	BUS_CRASH_MODE,
	BUS_CRASH_SEALED,
	BUS_CRASH_VISIBLE,
	BUS_CRASH_PUBLISH_END,
	BUS_CRASH_RECORD = 100, /* + number of the word */
	BUS_CRASH_RECORD_VERSION = 300,
	BUS_CRASH_RING_OPEN = 400,
	BUS_CRASH_RING_TEXT,
	BUS_CRASH_RING_SEQ,
	BUS_CRASH_RING_HEAD,
	BUS_CRASH_RECORD_READ = 500, /* + number of the word */
	BUS_CRASH_RING_READ = 700,
};

#ifdef BUS_CRASH_POINTS
void bus_crash_point(unsigned n);
#define BUS_CRASH_POINT(n) bus_crash_point((unsigned)(n))
#else
#define BUS_CRASH_POINT(n) ((void)0)
#endif

#endif
