-- CREATE OR REPLACE VIEW can only append columns, and users build views on this one: append.
create or replace view howdah.groups as
select g.name, g.max_running, g.rate, g.burst,
       coalesce(s.running, 0) as running, coalesce(w.waiting, 0) as waiting, w.oldest_due,
       case when g.closed_until > clock_timestamp() then g.closed_until end as closed_until,
       case when g.closed_until > clock_timestamp() then g.closed_by end as closed_by,
       case when g.closed_until > clock_timestamp() then g.closed_reason end as closed_reason,
       g.rule, g.own, g.declared is not null as declared, g.updated_at
  from howdah."group" g
  left join (select group_name as name, count(*) as running from howdah.slot group by 1) s using (name)
  left join (select x.name, count(*) as waiting, min(t.run_at) as oldest_due
               from howdah.task t cross join unnest(t.groups) x (name)
              where t.status = 'queued' and t.groups is not null and t.run_at <= clock_timestamp() group by 1) w using (name);
comment on view howdah.groups is 'Every limit, and every group whose tasks were claimed, with what runs and waits in it. rule: the limit with * that it has its limits from.';
