"""Compiled loops that take a graph apart node by node and always know its components.

After a removal, one search starts from every remaining neighbour.  The searches advance in
turn; two that meet become one, and one that runs dry has found a new component.  The last
one alive keeps the old label, so the work is about that of the smaller pieces.
"""

# All of them live in one file: numba's cache notices a change of the file a function
# stands in, not of the files it calls.

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from clgkit.dismantling.adjacency import Bool, Int32, Int64

Whole: TypeAlias = int | np.integer

N_LABELS, LARGEST_SIZE, EPOCH = 0, 1, 2  # places in State.counters
STEP = 64  # neighbours looked at in one turn of a search


class State(NamedTuple):
    """Components of what is left of a graph of N nodes, and scratch space for searches."""

    begin: Int64
    """(N,) place of the first neighbour of each node."""
    end: Int64
    """(N,) place after the last neighbour that is not struck off."""
    neighbours: Int32
    """(2 M,) neighbours of all nodes, in an order that changes."""
    label: Int32
    """(N,) component of each node, -1 once removed."""
    size: Int64
    """(2 N,) nodes of each component."""
    lowest: Int32
    """(2 N,) no node below this one belongs to the component."""
    head: Int32
    """(N + 1,) first component of each size, -1 if none."""
    after: Int32
    """(2 N,) next component of the same size."""
    before: Int32
    """(2 N,) previous component of the same size."""
    counters: Int64
    """(3,) labels given, upper bound of the largest size, number of the removal."""
    seen: Int64
    """(N,) removal during which a search reached the node last."""
    owner: Int32
    """(N,) search that reached it."""
    scanned: Int64
    """(N,) place of its next neighbour to look at."""
    links: Int32
    """(2, N) next node in the queue and in the list of reached nodes."""
    ends: Int32
    """(4, N) first and last node of both lists of each search."""
    parent: Int32
    """(N,) search that a search was merged into."""
    active: Int32
    """(2, N) searches alive, and the place of each search among them."""


def start_state(indptr: Int64, indices: Int32, removed: Int64 | None = None) -> State:
    """Return the components of the graph, without the nodes that were removed before."""
    n = indptr.size - 1
    state = State(
        begin=indptr[:-1].copy(),
        end=indptr[1:].copy(),
        neighbours=indices.copy(),
        label=np.full(n, -2, np.int32),
        size=np.zeros(2 * n, np.int64),
        lowest=np.zeros(2 * n, np.int32),
        head=np.full(n + 1, -1, np.int32),
        after=np.full(2 * n, -1, np.int32),
        before=np.full(2 * n, -1, np.int32),
        counters=np.array([0, n, 0], np.int64),
        seen=np.zeros(n, np.int64),
        owner=np.zeros(n, np.int32),
        scanned=np.zeros(n, np.int64),
        links=np.full((2, n), -1, np.int32),
        ends=np.full((4, n), -1, np.int32),
        parent=np.zeros(n, np.int32),
        active=np.zeros((2, n), np.int32),
    )
    if removed is not None:
        state.label[removed] = -1
    _label_all(state, indptr, indices)
    return state


@njit(cache=True, nogil=True)
def _label_all(state: State, indptr: Int64, indices: Int32) -> None:
    """Label the components in the order of their lowest node."""
    label, queue = state.label, state.owner
    for start in range(label.size):
        if label[start] != -2:
            continue
        component = state.counters[N_LABELS]
        state.counters[N_LABELS] += 1
        state.lowest[component] = start
        label[start] = component
        queue[0] = start
        first, last = 0, 1
        while first < last:
            v = queue[first]
            first += 1
            for place in range(indptr[v], indptr[v + 1]):
                w = indices[place]
                if label[w] == -2:
                    label[w] = component
                    queue[last] = w
                    last += 1
        _resize(state, component, last)


@njit(cache=True, nogil=True)
def _resize(state: State, component: Whole, size: Whole) -> None:
    """Move a component to the list of its new size."""
    head, after, before = state.head, state.after, state.before
    old = state.size[component]
    if old > 0:
        if before[component] >= 0:
            after[before[component]] = after[component]
        else:
            head[old] = after[component]
        if after[component] >= 0:
            before[after[component]] = before[component]
    state.size[component] = size
    if size > 0:
        before[component] = -1
        after[component] = head[size]
        if head[size] >= 0:
            before[head[size]] = component
        head[size] = component


@njit(cache=True, nogil=True)
def _lowest(state: State, component: Whole) -> Whole:
    """Return the lowest node of a component; it only ever moves up."""
    v: np.int32 = state.lowest[component]
    while state.label[v] != component:
        v += 1
    state.lowest[component] = v
    return v


@njit(cache=True, nogil=True)
def largest(state: State) -> Whole:
    """Return the largest component, of equal ones that with the lowest node; -1 if none."""
    size = state.counters[LARGEST_SIZE]
    while size > 0 and state.head[size] < 0:
        size -= 1
    state.counters[LARGEST_SIZE] = size
    if size == 0:
        return np.int32(-1)
    best: np.int32 = state.head[size]
    other = state.after[best]
    while other >= 0:
        if _lowest(state, other) < _lowest(state, best):
            best = other
        other = state.after[other]
    return best


@njit(inline="always")  # called for every node reached; a call with all of State is dear
def _reach(state: State, search: Whole, v: Whole) -> None:
    """Note that a search has reached a node."""
    state.seen[v] = state.counters[EPOCH]
    state.owner[v] = search
    state.scanned[v] = state.begin[v]
    for kind in range(2):
        state.links[kind, v] = -1
        if state.ends[2 * kind, search] < 0:
            state.ends[2 * kind, search] = v
        else:
            state.links[kind, state.ends[2 * kind + 1, search]] = v
        state.ends[2 * kind + 1, search] = v


@njit(cache=True, nogil=True)
def _retire(state: State, search: Whole, n_active: int) -> int:
    """Take a search off the list of those alive; return how many remain."""
    place = state.active[1, search]
    moved = state.active[0, n_active - 1]
    state.active[0, place] = moved
    state.active[1, moved] = place
    return n_active - 1


@njit(cache=True, nogil=True)
def _merge(state: State, search: Whole, other: Whole) -> None:
    """Hand both lists of another search over to this one."""
    state.parent[other] = search
    for kind in range(2):
        first = state.ends[2 * kind, other]
        if first < 0:
            continue
        if state.ends[2 * kind, search] < 0:
            state.ends[2 * kind, search] = first
        else:
            state.links[kind, state.ends[2 * kind + 1, search]] = first
        state.ends[2 * kind + 1, search] = state.ends[2 * kind + 1, other]


@njit(cache=True, nogil=True)
def _split_off(state: State, search: Whole, component: Whole) -> None:
    """Give everything a search has reached a label of its own."""
    piece = state.counters[N_LABELS]
    state.counters[N_LABELS] += 1
    v = state.ends[2, search]
    low = v
    n_nodes = 0
    while v >= 0:
        state.label[v] = piece
        low = min(low, v)
        n_nodes += 1
        v = state.links[1, v]
    state.lowest[piece] = low
    _resize(state, component, state.size[component] - n_nodes)
    _resize(state, piece, n_nodes)


@njit(cache=True, nogil=True)
def _root(parent: Int32, search: Whole) -> Whole:
    """Return the search that this one has become part of."""
    while parent[search] != search:
        parent[search] = parent[parent[search]]
        search = parent[search]
    return search


@njit(cache=True, nogil=True)
def _start_searches(state: State, v: Whole) -> int:
    """Start a search from every remaining neighbour; return their number."""
    state.counters[EPOCH] += 1
    n_active = 0
    for place in range(state.begin[v], state.end[v]):
        w = state.neighbours[place]
        if state.label[w] >= 0:
            state.parent[n_active] = n_active
            state.active[0, n_active] = state.active[1, n_active] = n_active
            state.ends[:, n_active] = -1
            _reach(state, n_active, w)
            n_active += 1
    return n_active


@njit(cache=True, nogil=True)
def _scan(state: State, search: Whole, v: Whole) -> Whole:
    """Look for another search among a few neighbours of a node; reach them if there is none.

    Returns the other search or -1.  Looking is cheap and reaching is not: in a dense graph
    most searches meet at once.  What lies outside the component never comes back, so it is
    struck off the list.
    """
    neighbours, start = state.neighbours, state.scanned[v]
    epoch, component = state.counters[EPOCH], state.label[v]
    place = start
    while place < min(start + STEP, state.end[v]):
        w = neighbours[place]
        if state.label[w] != component:
            state.end[v] -= 1
            neighbours[place] = neighbours[state.end[v]]
            continue
        if state.seen[w] == epoch:
            other = _root(state.parent, state.owner[w])
            if other != search:
                return other
        place += 1
    for w in neighbours[start:place]:
        if state.seen[w] != epoch:
            _reach(state, search, w)
    state.scanned[v] = place
    return np.int32(-1)


@njit(cache=True, nogil=True)
def remove(state: State, node: Whole) -> None:
    """Remove a node and label the pieces its component falls into."""
    component = state.label[node]
    state.label[node] = -1
    _resize(state, component, state.size[component] - 1)
    n_active = _start_searches(state, node)
    turn = 0
    while n_active > 1:
        search = state.active[0, turn % n_active]
        v = state.ends[0, search]
        if v < 0:
            _split_off(state, search, component)
            n_active = _retire(state, search, n_active)
            continue
        other = _scan(state, search, v)
        if other >= 0:
            _merge(state, other, search)  # the one met is mostly the larger
            n_active = _retire(state, search, n_active)
            continue
        if state.scanned[v] == state.end[v]:
            state.ends[0, search] = state.links[0, v]
        turn = state.active[1, search] + 1


@njit(cache=True, nogil=True)
def attack_list(state: State, order: Int64, stop: Whole) -> tuple[Int64, Int64]:
    """Remove the first listed node of the largest component until it has `stop` nodes.

    The pointer into the list never moves back while the new largest component is a piece
    of the old one, and returns to the head when another takes over.
    """
    removed = np.empty(order.size, np.int64)
    curve = np.zeros(order.size + 1, np.int64)
    n_removed, pointer = 0, 0
    target = largest(state)
    if target >= 0:
        curve[0] = state.size[target]
    while curve[n_removed] > stop:
        while pointer < order.size and state.label[order[pointer]] != target:
            pointer += 1
        if pointer == order.size:
            break
        n_labels = state.counters[N_LABELS]
        remove(state, order[pointer])
        removed[n_removed] = order[pointer]
        n_removed += 1
        successor = largest(state)
        if successor >= 0:
            curve[n_removed] = state.size[successor]
        if successor != target and successor < n_labels:
            pointer = 0
        target = successor
    return removed[:n_removed], curve[: n_removed + 1]


@njit(cache=True, nogil=True)
def _heap_of(degrees: Int64, chosen: Bool) -> list[Whole]:
    """Return a heap of (most neighbours, lowest node) of the chosen nodes."""
    n = degrees.size
    heap = [(n - degrees[v]) * n + v for v in range(n) if chosen[v]]
    heapq.heapify(heap)
    return heap


@njit(cache=True, nogil=True)
def _pop_busiest(heap: list[Whole], degrees: Int64) -> Whole:
    """Take the node with most neighbours off the heap, of equal ones the lowest.

    Degrees only fall, so an outdated entry stands too high: it is corrected when it comes up.
    """
    n = degrees.size
    while True:
        v = heap[0] % n
        key = (n - degrees[v]) * n + v
        if key == heap[0]:
            heapq.heappop(heap)
            return v
        heapq.heapreplace(heap, key)


@njit(cache=True, nogil=True)
def degree_order(indptr: Int64, indices: Int32, chosen: Bool) -> Int64:
    """Return the chosen nodes, always that with most remaining neighbours, wherever it lies."""
    degrees = indptr[1:] - indptr[:-1]
    heap = _heap_of(degrees, chosen)
    order = np.empty(len(heap), np.int64)
    for k in range(order.size):
        order[k] = _pop_busiest(heap, degrees)
        for place in range(indptr[order[k]], indptr[order[k] + 1]):
            degrees[indices[place]] -= 1
    return order


@njit(cache=True, nogil=True)
def attack_degree(state: State, stop: Whole) -> tuple[Int64, Int64]:
    """Remove the busiest node of the largest component until that has `stop` nodes."""
    degrees = state.end - state.begin
    for gone in np.flatnonzero(state.label < 0):
        for w in state.neighbours[state.begin[gone] : state.end[gone]]:
            degrees[w] -= 1
    removed = np.empty(degrees.size, np.int64)
    curve = np.zeros(degrees.size + 1, np.int64)
    n_removed = 0
    target = largest(state)
    if target >= 0:
        curve[0] = state.size[target]
    heap = _heap_of(degrees, state.label == target)
    while curve[n_removed] > stop:
        v = _pop_busiest(heap, degrees)
        if state.label[v] != target:
            continue
        n_labels = state.counters[N_LABELS]
        remove(state, v)
        for w in state.neighbours[state.begin[v] : state.end[v]]:
            degrees[w] -= 1
        removed[n_removed] = v
        n_removed += 1
        successor = largest(state)
        if successor >= 0:
            curve[n_removed] = state.size[successor]
        if successor >= 0 and successor != target and successor < n_labels:
            heap = _heap_of(degrees, state.label == successor)
        target = successor
    return removed[:n_removed], curve[: n_removed + 1]


@njit(cache=True, nogil=True)
def curve_of(indptr: Int64, indices: Int32, order: Int64) -> tuple[Int64, int]:
    """Return the largest component after each removal, by putting the nodes back.

    And the number of removals, from the first on, before each of which one component was
    larger than all others and held the node.
    """
    n = indptr.size - 1
    parent = np.full(n, -2, np.int32)  # -2 absent
    size = np.ones(n, np.int64)
    for v in order:
        parent[v] = -3  # absent until its turn
    biggest: Whole = 0
    n_biggest = 0
    for v in range(n):
        if parent[v] == -2:
            joined = _insert(parent, size, indptr, indices, v)
            n_biggest = 1 if joined > biggest else n_biggest + (joined == biggest)
            biggest = max(biggest, joined)
    curve = np.empty(order.size + 1, np.int64)
    curve[order.size] = biggest
    n_inside = order.size
    for k in range(order.size - 1, -1, -1):
        joined = _insert(parent, size, indptr, indices, order[k])
        n_biggest = 1 if joined > biggest else n_biggest + (joined == biggest)
        biggest = max(biggest, joined)
        curve[k] = biggest
        if joined < biggest or n_biggest > 1:
            n_inside = k
    return curve, n_inside


@njit(cache=True, nogil=True)
def _insert(parent: Int32, size: Int64, indptr: Int64, indices: Int32, v: Whole) -> Whole:
    """Add a node, join it with its present neighbours; return the size of its component."""
    parent[v] = v
    root = v
    for place in range(indptr[v], indptr[v + 1]):
        w = indices[place]
        if parent[w] < 0 or parent[w] == root:
            continue
        other = _root(parent, w)
        if other == root:
            continue
        if size[other] > size[root]:
            root, other = other, root
        parent[other] = root
        size[root] += size[other]
    joined: np.int64 = size[root]
    return joined
