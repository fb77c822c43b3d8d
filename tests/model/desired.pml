/* control -> tunnel: desired carries a generation of one incarnation, observed
   answers.  Doorbells get lost, control restarts and counts anew, the tunnel
   restarts and has forgotten.  In the end the tunnel has what control wants.

   mutants: BELL_ONLY GENERATION_ONLY APPLY_FIRST */
#define GENERATIONS 3
#define CONTROLS 2 /* lives of control */

byte want_uuid = 0, want_gen = 0; /* the record: whole, by record.pml */
byte seen_uuid = 0, seen_gen = 0, applied_gen = 0;
bool bell = false;
bool control_done = false;

active proctype control()
{
	byte life, gen;
	for (life : 1 .. CONTROLS) {
		for (gen : 1 .. GENERATIONS) {
			atomic { want_uuid = life; want_gen = gen };
			if :: bell = true :: skip /* lost */ fi;
			if :: break :: skip fi /* dies; what it wanted stands */
		}
	}
	control_done = true
}

active proctype tunnel()
{
	byte uuid, gen, restarts = 0;
	bool was_done;
#ifdef BELL_ONLY
#define WAKES (bell)
#else
#define WAKES (bell || true) /* or 250 ms passed */
#endif
	do
	:: WAKES ->
		was_done = control_done;
		bell = false;
		atomic { uuid = want_uuid; gen = want_gen };
		if
#ifdef GENERATION_ONLY
		:: gen > seen_gen ->
#else
		:: gen != seen_gen || uuid != seen_uuid ->
#endif
#ifdef APPLY_FIRST
			applied_gen = gen;
			atomic { seen_uuid = uuid; seen_gen = gen };
#else
			atomic { seen_uuid = uuid; seen_gen = gen; applied_gen = 0 };
			applied_gen = gen;
#endif
		:: else
		fi;
		if :: was_done -> break :: else fi
	:: restarts < 1 -> /* a new life of the tunnel: a new observed record */
		restarts++;
		atomic { seen_uuid = 0; seen_gen = 0; applied_gen = 0 }
	od;
	assert(applied_gen == want_gen && seen_uuid == want_uuid)
}

/* At every moment, also for a reader of both records. */
active proctype status()
{
	end: do
	:: atomic { applied_gen > seen_gen -> assert(false) }
	:: atomic { seen_uuid == want_uuid && seen_gen > want_gen -> assert(false) }
	od
}
