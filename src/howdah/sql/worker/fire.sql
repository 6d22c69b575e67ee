-- One conditional update of the schedule and the inserts of its tasks, in one transaction: whoever saw the same `after` first
-- fires these ticks, and nobody else, ever. The clock of the database says whether they have come.
create or replace function howdah.fire(
  schedule text,
  seen     timestamptz,
  ticks    timestamptz[],
  through  timestamptz,
  next_at  timestamptz,
  missed   bigint default 0,
  out fired   int,
  out skipped int
)
language plpgsql
as $$
#variable_conflict use_column
declare
  s     howdah.schedule;
  tick  timestamptz;
  busy  boolean;
  task  bigint;
  last  bigint;
begin
  select * into s from howdah.schedule x
   where x.name = fire.schedule and x.after = fire.seen and x.paused_at is null and x.retired_at is null
     for no key update skip locked;
  if not found or fire.through > howdah.now() or fire.through < fire.seen then
    return;
  end if;
  fired := 0;
  skipped := 0;
  foreach tick in array fire.ticks loop
    busy := s.overlap <> 'allow' and exists (select from howdah.task t where t.source = 'schedule:' || s.name and t.status <> 'failed');
    if busy and s.overlap = 'skip' then
      skipped := skipped + 1;
      continue;
    end if;
    task := howdah.fire_tick(s, tick, busy);
    fired := fired + (task is not null)::int;
    last := coalesce(task, last);
  end loop;
  update howdah.schedule x
     set after = fire.through, next_at = fire.next_at, over = fire.next_at is null, error = null,
         fired = x.fired + fire.fired, skipped = x.skipped + fire.skipped + fire.missed,
         last_tick = case when fire.fired > 0 then fire.ticks[cardinality(fire.ticks)] else x.last_tick end, last_task = coalesce(last, x.last_task)
   where x.name = s.name;
end
$$;
comment on function howdah.fire(text, timestamptz, timestamptz[], timestamptz, timestamptz, bigint) is
  'Fire ticks of a schedule, oldest first, if all up to seen and no more is dealt with: then all up to through is, and next_at comes next (NULL: none). missed: how many ticks before were passed over. Returns how many fired and were skipped because a task was live; NULLs: somebody else was first, or it was changed.';
