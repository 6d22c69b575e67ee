create or replace function howdah.places_in(
  lanes        text[],
  clock        timestamptz,              -- that of the claim: with a later one, tasks would start before they are paid for
  out names    text[],
  out free     int[],
  out tokens   double precision[],
  out burst    double precision[],
  out unit     double precision[],
  out closed   text[],
  out busy     text[],
  out next_due timestamptz
)
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  asked   text[] := array(select distinct g from unnest(places_in.lanes) l, unnest(l::text[]) g);
  known   text[];
  limited text[];
  missing text[];
  stale   boolean;
begin
  for i in 1 .. 2 loop
    select array_agg(g.name), coalesce(bool_or(g.used_at < places_in.clock - interval '1 hour'), false), array_agg(g.name) filter (where g.closed_until > places_in.clock), min(g.closed_until) filter (where g.closed_until > places_in.clock),
           array_agg(g.name) filter (where (g.max_running is not null or g.rate is not null) and not coalesce(g.closed_until > places_in.clock, false))
      into known, stale, closed, next_due, limited
      from howdah."group" g where g.name = any (asked);
    missing := array(select a from unnest(asked) a where a <> all (coalesce(known, '{}')));
    exit when i = 2 or missing = '{}';
    perform howdah.found_groups(missing);
  end loop;
  if stale then
    -- For retain, which forgets those that nobody has met for a day.
    update howdah."group" g set used_at = places_in.clock
      from (select x.name from howdah."group" x where x.name = any (asked) and x.used_at < places_in.clock - interval '1 hour' for no key update skip locked) old
     where g.name = old.name;
  end if;
  if limited is not null then
    with locked as materialized (
      select g.* from howdah."group" g where g.name = any (limited) order by g.name collate "C" for no key update skip locked
    )
    select array_agg(l.name order by l.name), array_agg(l.max_running order by l.name), array_agg(coalesce(l.burst, 1) order by l.name),
           array_agg(1 / l.per_second order by l.name),
           array_agg(case when l.rate is null then 'infinity' else
             l.burst - greatest(extract(epoch from nullif(l.tat, '-infinity') - places_in.clock)::double precision, 0) * l.per_second end order by l.name),
           array_agg(l.name) filter (where l.closed_until > places_in.clock)
      into names, free, burst, unit, tokens, known from locked l;
    missing := missing || array(select l from unnest(limited) l where l <> all (coalesce(names, '{}')));
    closed := closed || known;           -- closed while we looked
    -- A statement of its own, after the locks: it sees every place that was taken before.
    if names is not null then
      select array_agg(case when n.most is null then 2147483647
                            else n.most - (select count(*) from howdah.slot s where s.group_name = n.name)::int end order by n.at)
        into free from unnest(names, free) with ordinality n (name, most, at);
    end if;
  end if;
  if missing <> '{}' then
    busy := missing;
    next_due := least(next_due, places_in.clock + interval '5 milliseconds');
  end if;
  names := coalesce(names, '{}');
end
$$;
comment on function howdah.places_in(text[], timestamptz) is
  'What the groups of these lanes (arrays of their names, as text) have left for whoever asks, who locks them until the end of his transaction: names with places (free) and what the rate allows (tokens, burst, unit: seconds per cost of 1), in parallel arrays; those that are closed, and those that somebody else holds just now.';
