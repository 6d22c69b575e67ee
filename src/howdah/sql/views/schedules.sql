-- CREATE OR REPLACE VIEW can only append columns, and users build views on this one: append.
create or replace view howdah.schedules as
select s.name, case when s.retired_at is not null then 'retired' when s.error is not null then 'failing' when s.paused_at is not null then 'paused'
                    when s.over then 'over' else 'active' end as state,
       s.kind, s.step, s.cron, s.every, s.timezone, s.next_at, s.last_tick, s.last_task, s.fired, s.skipped, s.missed, s.overlap, s.jitter,
       s.starts_at, s.ends_at, s.anchor, s.queue, s.priority, s.declared, s.paused_at, s.paused_by, s.reason, s.retired_at, s.error,
       s.after, s.created_at, s.updated_at, s.payload,
       exists (select from howdah.worker w where w.status = 'live' and w.lease_until >= clock_timestamp() and s.kind = any (w.kinds)) as served,
       exists (select from howdah.queue q where q.draining_at is not null
                  and q.name = coalesce(s.queue, (select coalesce(k.steps -> s.step ->> 'queue', k.queue) from howdah.kind k where k.name = s.kind))) as closed
  from howdah.schedule s;
comment on view howdah.schedules is 'Every schedule and how it does: active, paused, failing (see error), over (no further tick), retired (its code declares it no more). served: a live worker knows its kind. closed: its queue is drained, so that its ticks are skipped.';
