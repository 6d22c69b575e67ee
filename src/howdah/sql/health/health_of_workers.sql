create or replace function howdah.health_of_workers(clock timestamptz)
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
set jit = off set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  select 'worker', 'workers', 'yellow', 'no worker', 'No worker is alive, though there are tasks or schedules for one',
         'Start one: howdah worker your_module:app', '{"live": 0}'::jsonb
   where not exists (select from howdah.worker w where w.status = 'live' and w.lease_until > clock and w.stop_at is null)
     and (exists (select from howdah.task t where t.status = 'queued' and t.groups is null)
       or exists (select from howdah.task t where t.status = 'queued' and t.groups is not null)
       or exists (select from howdah.task t where t.status = 'suspended' and t.run_at < 'infinity')
       or exists (select from howdah.schedule s where s.paused_at is null and s.retired_at is null and not s.over));

  -- Another worker takes over within a lease. Nobody does where there is no other.
  return query
  select 'worker', 'workers', case when bool_or(l.holds and l.late > l.ttl) then 'red' else 'yellow' end, 'late',
         format('%s not renewed in time: %s', howdah.counted(count(*), 'lease was', 'leases were'),
                string_agg(format('%s pid %s, %s late', l.host, l.pid, howdah.in_words(extract(epoch from l.late)::float8)), '; ')),
         'Is that worker stopped, or cut off from the database? Another one takes its tasks over: howdah workers',
         jsonb_build_object('late', count(*), 'holding', count(*) filter (where l.holds))
    from (select w.host, w.pid, w.ttl, clock - case when isfinite(w.lease_until) then w.lease_until else w.started_at end as late,
                 exists (select from howdah.task t where t.worker = w.id and t.status = 'running') as holds
            from howdah.worker w where w.status = 'live' and w.lease_until < clock order by w.lease_until limit 20) l
  having count(*) > 0;

  -- Who leaves in good order does so while its lease goes on.
  return query
  select 'worker', 'workers', howdah.colour_of(count(*), 1, 10), 'lost',
         format('%s stopped renewing the lease in the last hour, the last one on %s (pid %s)',
                howdah.counted(count(*), 'worker', 'workers'),
                (array_agg(w.host order by w.ended_at desc))[1], (array_agg(w.pid order by w.ended_at desc))[1]),
         'Were they killed (memory, a node that went), or was the database away? Their logs, or those of the system, say it: howdah workers',
         jsonb_build_object('lost', count(*), 'last', max(w.ended_at), 'warn', 1, 'alarm', 10)
    from howdah.worker w
   where w.status = 'dead' and w.ended_at > clock - interval '1 hour' and w.lease_until < w.ended_at
  having count(*) > 0;
end
$$;
comment on function howdah.health_of_workers(timestamptz) is 'What is wrong with the workers as a whole: none is alive, leases are late, leases were lost in the last hour.';
