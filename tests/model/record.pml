/* A versioned record (shm/record.h): the writer may die anywhere, two readers.
   Sequentially consistent; the memory order is tests/unit/shm/memory_test.c.

   mutants: LATE_RULE VERSION_FIRST ONE_COPY */
#define K 3 /* copies; 4 in the code, fewer show more */
#define VERSIONS 4
#ifdef LATE_RULE
#define VALID (K - 1)
#else
#define VALID (K - 2)
#endif
#ifdef ONE_COPY
#define COPY(n) 0
#else
#define COPY(n) ((n) % K)
#endif

byte version = 0;
byte word0[K], word1[K];
bool dead = false;

active proctype writer()
{
	byte n;
	do
	:: version < VERSIONS ->
		n = version + 1;
#ifdef VERSION_FIRST
		version = n;
#endif
		if :: goto die :: skip fi;
		word0[COPY(n)] = n;
		if :: goto die :: skip fi;
		word1[COPY(n)] = n;
		if :: goto die :: skip fi;
		version = n
	:: else -> break
	od;
die:	dead = true
}

active [2] proctype reader()
{
	byte n, a, b, end, last = 0;
	bool was_dead;
again:	was_dead = dead;
	n = version;
	if :: n == 0 -> goto out :: else fi;
	a = word0[COPY(n)];
	b = word1[COPY(n)];
	end = version;
	if
	:: end - n <= VALID ->
		assert(a == n && b == n); /* whole */
		assert(n >= last);	  /* never back */
		last = n
	:: else ->
		assert(!was_dead); /* a dead writer's record is read at the first try */
		goto again
	fi;
	if :: goto again :: skip fi;
out:	skip
}
