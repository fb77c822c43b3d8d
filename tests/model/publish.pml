/* Publication (shm/publication.c): several instances of one role start, live and
   die at any step, and each keeps its predecessor under a second name; a reader
   looks at both names all the while.

   mutants: RENAME_EARLY LOCK_LATE NO_OWNER KEEP_LATE */
#define LIVES 4

byte name = 0;     /* the inode under `segment`; inode i is instance i's */
byte previous = 0; /* the inode under `previous` */
bool locked[LIVES + 1], complete[LIVES + 1], dead[LIVES + 1];
byte owner = 0; /* who holds owner.lock */
byte serving = 0;

proctype instance(byte me)
{
	bool serves = false;
#ifndef NO_OWNER
	if
	:: atomic { owner == 0 -> owner = me }
	:: goto die /* gave up after 5 s, or was killed while it waited */
	fi;
#endif
	if :: goto die :: skip fi;
#ifndef KEEP_LATE
	previous = name;
	if :: goto die :: skip fi;
#endif
#ifndef LOCK_LATE
	locked[me] = true;
#endif
	if :: goto die :: skip fi;
#ifndef RENAME_EARLY
	complete[me] = true;
	if :: goto die :: skip fi;
#endif
	atomic {
#ifndef KEEP_LATE
		assert(previous == name); /* the last life, none before it */
#endif
		name = me; serving++; serves = true
	};
#ifdef KEEP_LATE
	previous = name;
#endif
	if :: goto die :: skip fi;
	complete[me] = true;
	locked[me] = true;
	skip; /* lives */
die:	atomic { /* the kernel drops all locks at once */
		dead[me] = true;
		locked[me] = false;
		if :: owner == me -> owner = 0 :: else fi;
		if :: serves -> serving-- :: else fi
	}
}

active proctype reader()
{
	byte seen, i = 0;
	do
	:: seen = name;
	   if
	   :: seen > 0 ->
		assert(complete[seen]);
		assert(locked[seen] || dead[seen]);
		assert(serving <= 1)
	   :: else
	   fi;
	   seen = previous;
	   if
	   :: seen > 0 -> /* whoever is told of as ended has ended, and is whole */
		assert(dead[seen] && complete[seen])
	   :: else
	   fi;
	   i++;
	   if :: i == 6 -> break :: else fi
	od
}

init
{
	byte i;
	atomic { for (i : 1 .. LIVES) { run instance(i) } }
}
