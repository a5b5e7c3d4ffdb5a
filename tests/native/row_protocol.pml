/* How a reader of a row stays right beside a writer that may die anywhere: native/include/onhand/
 * store.h in small, checked by Spin over every interleaving and every order that fences leave open.
 *
 * Memory is weaker than any processor that C11 is compiled to here keeps it: a store waits in the
 * writer's buffer and may be seen in any order, except after what the same place, a release or a
 * release fence puts before it. Loads between the acquire and the acquire fence come in any order.
 * A writer that is killed is one that does nothing more: every interleaving has its ends in others'
 * middles, so what holds at each confirmed read holds wherever the writer was killed.
 *
 * The row has one cell. A movement raises x and lowers y (two counters: a copy of the block) or
 * raises d (one counter: a store in place). Each raises x + d by one and the word's count by one.
 * A read that is confirmed has seen a whole block, x + y == 0, and the row as it was at the word's
 * count or one store after it: x + d is count or count + 1.
 *
 * -DWITHOUT_... leaves one thing out, to show what it is there for; see test_row_protocol.py.
 */
#ifndef MOVEMENTS
#define MOVEMENTS 4
#endif
#ifndef READS
#define READS 2
#endif
#define SLOTS 6

/* Places: the word, then of each of two blocks its header and three counters. */
#define WORD 0
#define HEADER(block) (1 + 4 * (block))
#define X(block) (2 + 4 * (block))
#define Y(block) (3 + 4 * (block))
#define D(block) (4 + 4 * (block))
#define WHOLE 1
#define LINK 7                          /* what a free block has in place of its header */
#define WORD_OF(block, count) ((count) * 2 + (block))

short memory[9];

/* The writer's buffer. before[slot]: the slots that must be seen first, by bits. */
bool waits[SLOTS];
byte place_of[SLOTS];
short value_of[SLOTS];
byte before[SLOTS];
byte fenced;                            /* what waited at the last fence and still does */
byte waiting;                           /* all that waits */

inline buffer(place, value, first) {
    d_step {
        (waiting != (1 << SLOTS) - 1);  /* room */
        slot = 0;
        do
        :: waits[slot] -> slot++
        :: else -> break
        od;
        before[slot] = first;
        other = 0;
        do                              /* one place is seen in order */
        :: other < SLOTS ->
            if
            :: waits[other] && place_of[other] == place -> before[slot] = before[slot] | (1 << other)
            :: else
            fi;
            other++
        :: else -> break
        od;
        waits[slot] = true;
        place_of[slot] = place;
        value_of[slot] = value;
        waiting = waiting | (1 << slot);
        slot = 0; other = 0
    }
}
#define STORE(place, value) buffer(place, value, fenced)
#ifdef WITHOUT_RELEASE
#define STORE_RELEASE(place, value) buffer(place, value, fenced)
#else
#define STORE_RELEASE(place, value) buffer(place, value, waiting)
#endif
#define FENCE atomic { fenced = waiting }

/* Shows what waits, in any order that is left open. */
proctype Memory() {
    byte slot, other;
end:do
    :: atomic {                         /* no d_step: which of them is open */
        waiting != 0 ->
        if
        :: waits[0] && before[0] == 0 -> slot = 0
        :: waits[1] && before[1] == 0 -> slot = 1
        :: waits[2] && before[2] == 0 -> slot = 2
        :: waits[3] && before[3] == 0 -> slot = 3
        :: waits[4] && before[4] == 0 -> slot = 4
        :: waits[5] && before[5] == 0 -> slot = 5
        fi;
        memory[place_of[slot]] = value_of[slot];
        waits[slot] = false; place_of[slot] = 0; value_of[slot] = 0; before[slot] = 0;
        waiting = waiting & ~(1 << slot);
        fenced = fenced & ~(1 << slot);
        other = 0;
        do
        :: other < SLOTS -> before[other] = before[other] & ~(1 << slot); other++
        :: else -> break
        od;
        slot = 0; other = 0
       }
    od
}

proctype Writer() {
    byte slot, other, block, count;
    byte x, d;                          /* the writer knows its own row */
    do
    :: count == MOVEMENTS -> break
    :: count < MOVEMENTS ->             /* d: cell_store */
        count++;
        d++;
#ifndef WITHOUT_FENCE_BEFORE_STORE
        FENCE;
#endif
        STORE(D(block), d);
        STORE_RELEASE(WORD, WORD_OF(block, count))
    :: count < MOVEMENTS ->             /* x and y: a copy */
        count++;
        x++;
#ifdef WITHOUT_COPY
        FENCE;
        STORE(X(block), x);
        STORE(Y(block), -x);
        STORE_RELEASE(WORD, WORD_OF(block, count))
#else
#ifdef WITHOUT_FENCE_BEFORE_FREE
#define FREE(old) STORE(HEADER(old), LINK)
#else
#define FREE(old) FENCE; STORE(HEADER(old), LINK)
#endif
        FENCE;                          /* block_take */
#ifdef WITH_FREE_FIRST
        FREE(block);
#endif
        STORE(X(1 - block), x);
        STORE(Y(1 - block), -x);
        STORE(D(1 - block), d);
        STORE(HEADER(1 - block), WHOLE);
        STORE_RELEASE(WORD, WORD_OF(1 - block, count));
#ifndef WITH_FREE_FIRST
        FREE(block);
#endif
        block = 1 - block
#endif
    od
}

#define TAKEN 15

proctype Reader() {
    byte taken, block, reads;
    short word, again, header, x, y, d, d_before, x_before;
    do
    :: reads == READS -> break
    :: reads < READS ->
        word = memory[WORD];            /* acquire */
        block = word % 2;
        taken = 0;
#ifdef WITHOUT_ACQUIRE_FENCE
        again = -1;
#endif
        do
        :: !(taken & 1) -> atomic { header = memory[HEADER(block)]; taken = taken | 1 }
        :: !(taken & 2) -> atomic { x = memory[X(block)]; taken = taken | 2 }
        :: !(taken & 4) -> atomic { y = memory[Y(block)]; taken = taken | 4 }
        :: !(taken & 8) -> atomic { d = memory[D(block)]; taken = taken | 8 }
#ifdef WITHOUT_ACQUIRE_FENCE
        :: again == -1 -> again = memory[WORD]
        :: taken == TAKEN && again != -1 -> break
#else
        :: taken == TAKEN -> break
#endif
        od;
#ifndef WITHOUT_ACQUIRE_FENCE
        again = memory[WORD];
#endif
        if
        :: word == again ->
            assert(header == WHOLE);
            assert(x + y == 0);
            assert(x + d == word / 2 || x + d == word / 2 + 1);
            assert(x >= x_before && d >= d_before);
            x_before = x; d_before = d;
            reads++
        :: else -> skip                 /* read again: only after the word has changed */
        fi;
        word = 0; again = 0; header = 0; x = 0; y = 0; d = 0; block = 0; taken = 0
    od
}

init {
    atomic {
        memory[HEADER(0)] = WHOLE;
        run Memory();
        run Writer();
        run Reader()
    }
}
