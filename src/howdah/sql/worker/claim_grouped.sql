-- Take up to `room` due tasks of one queue and priority whose groups have places.
--
-- Tasks with the same groups form a lane. The index gives the lanes one by one, each with its oldest task, without reading what
-- waits behind it: a full group costs one probe, however long its backlog. Lanes are looked at from `mark` on, round and
-- round, so that each has its turn. With `fair` they take turns; else the oldest task of those looked at is first.
--
-- The rows of limited groups are locked, passing over those that somebody holds just now: he is claiming from them. Whoever
-- holds such a row counts exactly what runs, because nobody else takes a place meanwhile; and he waits for nothing. So that not
-- all groups of a queue are locked for one task, lanes are tried some at a time, and more only while there is room.
create or replace function howdah.claim_grouped(
  worker   uuid,
  seq      bigint,
  queue    text,
  priority int,
  until    timestamptz,
  room     int,
  kinds    text[],
  fair     boolean,
  inout mark text[],
  out claimed  json[],
  out readers  bigint[],
  out next_due timestamptz,
  out gated    boolean,
  out crowded  boolean,
  out more     boolean,
  out lanes    int
)
language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  looked  int := 0;                      -- lanes looked at
  wanted  int;
  began   text[];                        -- the mark before this look
  wrapped boolean := false;              -- the end of the lanes was seen
  scan    record;
  tried   int;                           -- of the due lanes of this look
  at_once int;
  places  record;                        -- what the limited groups of these lanes have left
  pick    record;
  opens   text[];                        -- lanes that may have a place, as text
  caps    int[];                         -- for how many
  capped  text[];                        -- by what: places, rate, or nothing but the room
  cap     int;
  bound   text;
  free    int[];
  tokens  double precision[];
  spent   double precision[];
  needs   double precision;
  chosen  bigint[];
  lane    text;
  name    text;
  at      int;
  fits    boolean;
  refused boolean;
  last    text;
  took    json[];
  reading bigint[];
begin
  claimed := '{}'; readers := '{}'; gated := false; crowded := false; more := false; lanes := 0;
  loop
    wanted := case when claim_grouped.fair then greatest(claim_grouped.room - cardinality(claimed), 20) else 256 end;
    -- From the mark to the end, and from the beginning up to the mark if that is all of them.
    with recursive lane as (
      (select t.groups, t.run_at, 1 as n from howdah.task t
        where t.status = 'queued' and t.groups is not null and t.queue = claim_grouped.queue and t.priority = claim_grouped.priority
          and t.groups > coalesce(claim_grouped.mark, '{}')
        order by t.groups, t.run_at, t.id limit 1)
      union all
      select x.groups, x.run_at, l.n + 1
        from lane l
        cross join lateral (select t.groups, t.run_at from howdah.task t
                             where t.status = 'queued' and t.groups is not null and t.queue = claim_grouped.queue
                               and t.priority = claim_grouped.priority and t.groups > l.groups
                             order by t.groups, t.run_at, t.id limit 1) x
       where l.n < wanted
    ), before as (
      (select t.groups, t.run_at, f.n + 1 as n
         from (select count(*)::int as n from lane) f
         cross join lateral (select t.groups, t.run_at from howdah.task t
                              where t.status = 'queued' and t.groups is not null and t.queue = claim_grouped.queue
                                and t.priority = claim_grouped.priority and t.groups <= claim_grouped.mark
                              order by t.groups, t.run_at, t.id limit 1) t
        where f.n < wanted)
      union all
      select x.groups, x.run_at, l.n + 1
        from before l
        cross join lateral (select t.groups, t.run_at from howdah.task t
                             where t.status = 'queued' and t.groups is not null and t.queue = claim_grouped.queue
                               and t.priority = claim_grouped.priority and t.groups > l.groups and t.groups <= claim_grouped.mark
                             order by t.groups, t.run_at, t.id limit 1) x
       where l.n < wanted
    ), round as (
      select l.* from lane l
      union all
      select b.* from before b where (select max(x.n) from before x) < wanted
    )
    select array_agg(l.groups::text order by case when claim_grouped.fair then l.n end, l.run_at, l.n)
             filter (where l.run_at <= claim_grouped.until) as due,
           count(*)::int as lanes, min(l.run_at) filter (where l.run_at > clock) as later, (array_agg(l.groups::text order by l.n desc))[1] as last,
           (select count(*) from lane) + (select count(*) from before) < wanted as whole
      into scan from round l;
    looked := looked + scan.lanes;
    next_due := least(next_due, scan.later);
    began := claim_grouped.mark;
    claim_grouped.mark := case when scan.lanes >= wanted then scan.last::text[] end;

    lanes := lanes + scan.lanes;
    tried := 0;
    at_once := case when claim_grouped.fair then 256 else greatest(2 * (claim_grouped.room - cardinality(claimed)), 8) end;
    while tried < coalesce(cardinality(scan.due), 0) and cardinality(claimed) < claim_grouped.room loop
      select * into places from howdah.places_in(scan.due[tried + 1 : tried + at_once], clock);
      next_due := least(next_due, places.next_due);
      free := places.free;
      tokens := places.tokens;
      spent := array_fill(0::double precision, array[cardinality(places.names)]);
      opens := '{}';
      caps := '{}';
      capped := '{}';
      foreach lane in array scan.due[tried + 1 : tried + at_once] loop
        fits := true;
        cap := claim_grouped.room;
        bound := '';
        foreach name in array lane::text[] loop
          if name = any (places.closed) then
            fits := false;
          elsif name = any (places.busy) then
            fits := false;
            crowded := true;
          else
            at := array_position(places.names, name);
            if free[at] <= 0 then
              fits := false;
              crowded := true;
            elsif tokens[at] <= 0 then
              -- When one of cost 1 is paid for; what costs more is told then.
              fits := false;
              next_due := least(next_due, clock + make_interval(secs => (least(1, places.burst[at]) - tokens[at]) * places.unit[at]));
            end if;
            if free[at] <= cap then
              cap := free[at];
              bound := 'places';
            end if;
            if tokens[at] < cap then
              cap := greatest(ceil(tokens[at]), 1);
              bound := 'rate';
            end if;
          end if;
          exit when not fits;
        end loop;
        if fits then
          opens := opens || lane;
          caps := caps || cap;
          capped := capped || bound;
        else
          gated := true;
        end if;
      end loop;
      tried := tried + at_once;
      at_once := 2 * at_once;
      continue when opens = '{}';

      -- Some more than there is room for, so that few lanes with much to do can fill it.
      wanted := case when claim_grouped.fair and not scan.whole then 1
                     else greatest(ceil(2.0 * (claim_grouped.room - cardinality(claimed)) / cardinality(opens)), 1) end;
      with candidate as materialized (
        select l.lane, l.n, l.cap, l.bound, c.id, c.run_at, c.cost
          from unnest(opens, caps, capped) with ordinality l (lane, cap, bound, n)
          cross join lateral (
            select t.id, t.run_at, coalesce(t.cost, 1) as cost from howdah.task t
             where t.status = 'queued' and t.groups is not null and t.queue = claim_grouped.queue and t.priority = claim_grouped.priority
               and t.groups = l.lane::text[] and t.run_at <= claim_grouped.until and t.kind = any (claim_grouped.kinds)
               and (t.late is null or t.late = 'run' or (t.epoch > 0 or t.start_before is null or t.start_before > clock)
                                                        and (t.finish_before is null or t.finish_before > clock))
             order by t.run_at, t.id limit least(wanted, l.cap) for update skip locked) c
      ), placed as (
        select c.*, row_number() over (partition by c.n order by c.run_at, c.id) as turn from candidate c
      ), sorted as (
        select p.*, row_number() over (order by case when claim_grouped.fair then p.turn end, case when claim_grouped.fair then p.n end, p.run_at, p.id) as place
          from placed p
      )
      select array_agg(s.id order by s.place) as ids, array_agg(s.lane order by s.place) as lanes, array_agg(s.cost order by s.place) as costs,
             coalesce(bool_or(s.turn = wanted), false) as full,
             coalesce(bool_or(s.turn = s.cap and s.bound = 'places'), false) as filled,
             coalesce(bool_or(s.turn = s.cap and s.bound = 'rate'), false) as paid
        into pick from sorted s;

      chosen := '{}';
      refused := false;
      for i in 1 .. coalesce(cardinality(pick.ids), 0) loop
        fits := true;
        foreach name in array pick.lanes[i]::text[] loop
          at := array_position(places.names, name);
          -- What costs more than the burst starts when all is paid for, and leaves a debt.
          needs := least(pick.costs[i], places.burst[at]);
          if free[at] <= 0 then
            fits := false;
            crowded := true;
          elsif tokens[at] < needs then
            fits := false;
            next_due := least(next_due, clock + make_interval(secs => (needs - tokens[at]) * places.unit[at]));
            -- It saves for this one: what is cheaper, and behind it, does not overtake it again and again.
            tokens[at] := 0;
          end if;
        end loop;
        if not fits then
          gated := true;
          refused := true;
          continue;
        end if;
        foreach name in array pick.lanes[i]::text[] loop
          at := array_position(places.names, name);
          if at is not null then
            free[at] := free[at] - 1;
            tokens[at] := tokens[at] - pick.costs[i];
            spent[at] := spent[at] + pick.costs[i];
          end if;
        end loop;
        chosen := chosen || pick.ids[i];
        last := pick.lanes[i];
        exit when cardinality(claimed) + cardinality(chosen) >= claim_grouped.room;
      end loop;
      more := more or (pick.full or pick.paid) and not refused;
      -- What is behind the last that its groups had a place for waits for one of them to end.
      gated := gated or pick.filled;
      crowded := crowded or pick.filled;
      continue when chosen = '{}';

      with take as (
        update howdah.task t
           set status = 'running', worker = claim_grouped.worker, claim_seq = claim_grouped.seq, claimed_at = clock,
               epoch = t.epoch + 1, attempt = t.attempt + 1, progress = null
         where t.id = any (chosen)
        returning t.*
      ), held as (
        -- One that was left behind (TRUNCATE, a restore) must not stop the queue.
        insert into howdah.slot (group_name, task_id) select g, k.id from take k cross join unnest(k.groups) g on conflict do nothing
      )
      select array_agg(howdah.as_claimed(k, clock) order by k.run_at, k.id), array_agg(k.id) filter (where k.inbox_seq > 0)
        into took, reading from take k;
      claimed := claimed || took;
      readers := readers || reading;
      update howdah."group" g
         set tat = greatest(g.tat, clock) + make_interval(secs => s.cost / g.per_second)
        from unnest(places.names, spent) s (name, cost)
       where g.name = s.name and s.cost > 0 and g.rate is not null;
    end loop;

    if cardinality(claimed) >= claim_grouped.room then
      if claim_grouped.fair then
        claim_grouped.mark := last::text[];
      end if;
      exit;
    end if;
    wrapped := wrapped or claim_grouped.mark is null;
    exit when scan.whole or wrapped and began is null;
    if looked >= 256 then
      -- At the end of a round there is a rest.
      more := more or not wrapped;
      exit;
    end if;
  end loop;
end
$$;
comment on function howdah.claim_grouped(uuid, bigint, text, int, timestamptz, int, text[], boolean, text[]) is
  'Take due tasks with groups for a worker, as claim does. mark: the groups that were looked at last; NULL: the round is done. Returns also whether limits kept something back (gated), also such as come free when something ends (crowded), whether there is more to look at at once, and how many lanes there were.';
