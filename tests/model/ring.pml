/* The ring of lines (shm/ring.c): the producer may die anywhere, one consumer
   counts what it got and what it lost.

   mutants: NO_INVALIDATE NO_RECHECK HEAD_FIRST */
#define N 3
#define LINES 7

byte head = 0;
byte seq[N], text[N];
bool dead = false;

active proctype producer()
{
	byte n = 0;
	do
	:: n < LINES ->
#ifdef HEAD_FIRST
		head = n + 1;
#endif
#ifndef NO_INVALIDATE
		seq[n % N] = 0;
#endif
		if :: goto die :: skip fi;
		text[n % N] = n + 1;
		if :: goto die :: skip fi;
		seq[n % N] = n + 1;
		if :: goto die :: skip fi;
		head = n + 1;
		n = n + 1
	:: else -> break
	od;
die:	dead = true
}

active proctype consumer()
{
	byte cursor = 0, h, s1, s2, t, got = 0, lost = 0;
	bool was_dead;
	do
	:: was_dead = dead;
	   h = head;
	   if
	   :: h - cursor > N -> lost = lost + (h - N - cursor); cursor = h - N
	   :: else
	   fi;
	   do
	   :: cursor < h ->
		s1 = seq[cursor % N];
		if
		:: s1 == cursor + 1 ->
			t = text[cursor % N];
			s2 = seq[cursor % N];
#ifdef NO_RECHECK
			s2 = s1;
#endif
			if
			:: s2 == s1 -> assert(t == cursor + 1); got++
			:: else -> lost++
			fi
		:: else ->
			/* lost to a newer line, which the producer has at least begun */
			assert(s1 == 0 || s1 > cursor + 1);
			assert(!was_dead || head - cursor >= N);
			lost++
		fi;
		cursor++
	   :: else -> break
	   od;
	   assert(got + lost == cursor);
	   if :: was_dead && cursor == head -> break :: else fi
	od;
	assert(got + lost == head)
}
