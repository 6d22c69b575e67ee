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
  s      howdah.schedule;
  tick   timestamptz;
  busy   boolean;
  closed boolean;
  task   bigint;
  latest bigint;
  at     timestamptz;
begin
  select * into s from howdah.schedule x
   where x.name = fire.schedule and x.after = fire.seen and x.paused_at is null and x.retired_at is null
     for no key update skip locked;
  -- Through what is seen is nothing new, and may lie ahead: the clock was set back.
  if not found or fire.through < fire.seen or fire.through > greatest(fire.seen, howdah.now())
     or exists (select from unnest(fire.ticks) t where t <= fire.seen or t > fire.through) then
    return;
  end if;
  fired := 0;
  skipped := 0;
  closed := exists (select from howdah.queue q
                     where q.draining_at is not null and q.name = coalesce(s.queue, (howdah.rules(s.kind, s.step)).queue));
  foreach tick in array fire.ticks loop
    busy := s.overlap <> 'allow' and exists (select from howdah.task t where t.source = 'schedule:' || s.name and t.status <> 'failed');
    if closed or busy and s.overlap = 'skip' then
      skipped := skipped + 1;
      continue;
    end if;
    task := howdah.fire_tick(s, tick, busy);
    fired := fired + (task is not null)::int;
    if task is not null then
      latest := task;
      at := tick;
    end if;
  end loop;
  update howdah.schedule x
     set after = fire.through, next_at = fire.next_at, over = fire.next_at is null, error = null,
         fired = x.fired + fire.fired, skipped = x.skipped + fire.skipped + fire.missed,
         last_tick = coalesce(at, x.last_tick), last_task = coalesce(latest, x.last_task)
   where x.name = s.name;
end
$$;
comment on function howdah.fire(text, timestamptz, timestamptz[], timestamptz, timestamptz, bigint) is
  'Fire ticks of a schedule, oldest first, if all up to seen and no more is dealt with: then all up to through is, and next_at comes next (NULL: none). missed: how many ticks before were passed over. Returns how many fired and were skipped because a task was live or the queue takes no more; NULLs: somebody else was first, or it was changed.';
