create or replace function howdah.health_of_waiting(clock timestamptz)
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
  with live as materialized (
    select w.kinds, w.queues from howdah.worker w where w.status = 'live' and w.lease_until > clock and w.stop_at is null
  ), due as materialized (
    select w.queue, w.kind, w.due_since, w.task_id, w.due, w.more, extract(epoch from clock - w.due_since)::float8 as waited,
           coalesce(q.paused, false) as paused, q.paused_at, q.paused_by, q.reason as pause_reason, k.disabled_at is not null as disabled,
           t.wait_warn, t.wait_alarm,
           exists (select from live l where w.kind = any (l.kinds)) as known,
           exists (select from live l where l.queues is null or l.queues ? w.queue) as served,
           exists (select from live l where w.kind = any (l.kinds) and (l.queues is null or l.queues ? w.queue)) as taken
      from howdah.longest_waiting(clock) w
      left join howdah.queue q on q.name = w.queue
      left join howdah.kind k on k.name = w.kind
      cross join lateral howdah.thresholds(k.warn, k.alarm) t
  ), open as (
    select * from due d where not d.paused and not d.disabled
  ), wait as (
    select o.*, howdah.colour_of(o.waited, o.wait_warn, o.wait_alarm) as shade from open o where o.taken and o.waited >= o.wait_warn
  )
  (select distinct on (o.kind) 'kind', o.kind, 'red', 'no worker',
          case when o.more then 'at least ' else '' end || howdah.counted(o.due, 'task of it is due', 'tasks of it are due')
            || case when not exists (select from live) then ', and no worker is alive'
                    when not o.known then ', and no live worker knows this kind'
                    else format(' in queue %s, and no live worker that knows this kind serves that queue', o.queue) end,
          case when not o.known then 'Start a worker that has its handler: howdah worker your_module:app' else format('Start one with -q %s', o.queue) end,
          jsonb_build_object('due', o.due, 'waited', round(o.waited::numeric, 3), 'task', o.task_id, 'queue', o.queue)
     from open o where not o.taken order by o.kind, o.due_since)
  union all
  (select distinct on (w.kind) 'kind', w.kind, w.shade, 'wait',
          format('Its oldest due task waits for %s in queue %s; yellow is from %s, red from %s',
                 howdah.in_words(w.waited), w.queue, howdah.in_words(w.wait_warn), howdah.in_words(w.wait_alarm)),
          format('See what holds it up: howdah why %s. Start more workers, or give it a higher priority', w.task_id),
          jsonb_build_object('waited', round(w.waited::numeric, 3), 'due', w.due, 'task', w.task_id, 'queue', w.queue, 'warn', w.wait_warn, 'alarm', w.wait_alarm)
     from wait w order by w.kind, w.shade, w.due_since)
  union all
  (select distinct on (w.queue) 'queue', w.queue, w.shade, 'wait',
          format('A due task of kind %s waits for %s; yellow is from %s, red from %s',
                 w.kind, howdah.in_words(w.waited), howdah.in_words(w.wait_warn), howdah.in_words(w.wait_alarm)),
          format('See what holds it up: howdah why %s. Start more workers that serve the queue', w.task_id),
          jsonb_build_object('waited', round(w.waited::numeric, 3), 'due', w.due, 'task', w.task_id, 'kind', w.kind, 'warn', w.wait_warn, 'alarm', w.wait_alarm)
     from wait w order by w.queue, w.shade, w.due_since)
  union all
  (select 'queue', o.queue, 'red', 'no worker', case when bool_or(o.more) then 'at least ' else '' end || howdah.counted(sum(o.due)::bigint, 'task is due', 'tasks are due') || ', and no live worker serves this queue',
          format('Start one: howdah worker your_module:app -q %s', o.queue),
          jsonb_build_object('due', sum(o.due), 'waited', round(max(o.waited)::numeric, 3))
     from open o where not o.served group by o.queue)
  union all
  (select 'queue', d.queue, 'yellow', 'paused',
          format('It is paused since %s by %s%s; %s', to_char(d.paused_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
                 d.paused_by, coalesce(': ' || d.pause_reason, ''), case when bool_or(d.more) then 'at least ' else '' end || howdah.counted(sum(d.due)::bigint, 'task is due', 'tasks are due')),
          format('howdah resume %s', d.queue),
          jsonb_build_object('due', sum(d.due), 'waited', round(max(d.waited)::numeric, 3), 'paused_at', d.paused_at)
     from due d where d.paused group by d.queue, d.paused_at, d.paused_by, d.pause_reason);
end
$$;
comment on function howdah.health_of_waiting(timestamptz) is
  'What is wrong with kinds and queues whose tasks are due: they wait for too long, no worker takes them, their queue is paused.';
