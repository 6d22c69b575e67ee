-- Whatever is counted is counted up to a point, along an index that has nothing else in it.
create or replace function howdah.health_of_attempts(clock timestamptz)
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with recursive parked as (
    (select t.kind from howdah.task t where t.status = 'failed' order by t.kind limit 1)
    union all
    select (select t.kind from howdah.task t where t.status = 'failed' and t.kind > p.kind order by t.kind limit 1)
      from parked p where p.kind is not null
  )
  select 'kind', p.kind, howdah.colour_of(n.failed, t.failed_warn, t.failed_alarm), 'failed',
         case when n.failed > most then format('more than %s tasks of it are parked as failed', most)
              else howdah.counted(n.failed, 'task of it is parked as failed', 'tasks of it are parked as failed') end,
         format('Look: howdah ls -s failed --kind %s. Mend the cause, then: howdah retry --kind %1$s', p.kind),
         jsonb_build_object('failed', n.failed, 'oldest', n.oldest, 'warn', t.failed_warn, 'alarm', t.failed_alarm)
    from parked p
    left join howdah.kind k on k.name = p.kind
    cross join lateral howdah.thresholds(k.warn, k.alarm) t
    cross join lateral greatest(10000, ceil(t.failed_alarm)::bigint) most
    cross join lateral (select count(*) as failed, min(x.id) as oldest from (
      select f.id from howdah.task f where f.status = 'failed' and f.kind = p.kind order by f.id limit most + 1) x) n
   where p.kind is not null and n.failed >= t.failed_warn;

  return query
  with recursive running as materialized (
    select t.kind, t.id, t.attempt - 1 as retries from howdah.worker w
      cross join lateral (select x.kind, x.id, x.attempt from howdah.task x where x.worker = w.id and x.status = 'running') t
     where t.attempt > 1
  ), retried as (
    (select t.kind from howdah.task t where t.status = 'queued' and t.attempt > 0 order by t.kind limit 1)
    union all
    select (select t.kind from howdah.task t where t.status = 'queued' and t.attempt > 0 and t.kind > r.kind order by t.kind limit 1)
      from retried r where r.kind is not null
  ), kinds as (
    select r.kind from retried r where r.kind is not null union select r.kind from running r
  )
  select 'kind', a.kind, howdah.colour_of(a.retries, a.retries_warn, a.retries_alarm), 'retries',
         format('%s %s in vain; yellow is from %s%s',
                case when a.tasks > 1000 then 'more than 1,000 tasks of it were tried up to'
                     else howdah.counted(a.tasks, 'task of it was tried', 'tasks of it were tried up to') end,
                howdah.counted(a.retries, 'time', 'times'), a.retries_warn, coalesce(', red from ' || a.retries_alarm, '')),
         format('See what it says: howdah show %s', a.task_id),
         jsonb_build_object('retries', a.retries, 'tasks', a.tasks, 'task', a.task_id, 'warn', a.retries_warn, 'alarm', a.retries_alarm)
    from (
      select k.kind, t.retries_warn, t.retries_alarm, count(*) as tasks, max(c.retries) as retries, (array_agg(c.id order by c.retries desc, c.id))[1] as task_id
        from kinds k
        left join howdah.kind d on d.name = k.kind
        cross join lateral howdah.thresholds(d.warn, d.alarm) t
        cross join lateral (
          (select q.id, q.attempt as retries from howdah.task q
            where q.status = 'queued' and q.attempt > 0 and q.kind = k.kind and q.attempt >= t.retries_warn
            order by q.attempt desc limit 1001)
          union all
          select r.id, r.retries from running r where r.kind = k.kind and r.retries >= t.retries_warn) c
       group by k.kind, t.retries_warn, t.retries_alarm) a;

  -- A worker stops what outlived its time, and howdah.rescue does a lease later: what is still there then nobody stops.
  -- A process may wait for its turn after the claim, and is killed in time.
  return query
  with running as materialized (
    select t.kind, t.step, t.id, t.claimed_at, w.ttl from howdah.worker w
      cross join lateral (select x.kind, x.step, x.id, x.claimed_at from howdah.task x where x.worker = w.id and x.status = 'running') t
     where exists (select from howdah.kind k where k.timeout is not null or k.steps @? '$.*.timeout')
  ), limits as materialized (
    select s.kind, s.step, r.timeout from (select distinct kind, step from running) s cross join lateral howdah.rules(s.kind, s.step) r
     where r.timeout is not null and r.executor <> 'process'
  ), over as (
    select r.kind, r.id, l.timeout, r.ttl, clock - r.claimed_at as ran from running r
      join limits l on l.kind = r.kind and l.step is not distinct from r.step
     where r.claimed_at + l.timeout * 1.1 + interval '1 s' < clock
  )
  select 'kind', o.kind, case when bool_or(o.ran > o.timeout + 2 * o.ttl) then 'red' else 'yellow' end, 'timeout',
         format('%s past its timeout, by up to %s', howdah.counted(count(*), 'task of it runs', 'tasks of it run'),
                howdah.in_words(extract(epoch from max(o.ran - o.timeout))::float8)),
         format('Its handler does not stop, or blocks the event loop: howdah show %s. If this lasts, restart that worker',
                (array_agg(o.id order by o.ran - o.timeout desc))[1]),
         jsonb_build_object('tasks', count(*), 'task', (array_agg(o.id order by o.ran - o.timeout desc))[1],
                            'over', round(extract(epoch from max(o.ran - o.timeout))::numeric, 3))
    from over o group by o.kind;

  return query
  select 'kind', e.kind, howdah.colour_of(count(*), 1, 10), 'crashes',
         howdah.counted(count(*), 'attempt', 'attempts') || ' ended with the death of the worker in the last hour',
         format('Does it use up the memory? Look: howdah show %s; howdah workers', max(e.task_id)),
         jsonb_build_object('crashes', count(*), 'tasks', count(distinct e.task_id), 'task', max(e.task_id), 'warn', 1, 'alarm', 10)
    from (select c.kind, c.task_id from howdah.event c
           where c.type = 'crash' and c.at > clock - interval '1 hour' order by c.at desc limit 10000) e
   group by e.kind;
end
$$;
comment on function howdah.health_of_attempts(timestamptz) is
  'What is wrong with kinds whose tasks were begun: parked ones, retries, attempts past their timeout, workers that died of them.';
