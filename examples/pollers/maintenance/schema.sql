-- Maintenance tasks that any number of hosts share: what to do how often, and who did what when.

create schema maintenance;
set search_path to maintenance;

create table maintenance_task (
  name                text primary key,
  enabled             boolean not null default true,
  every               interval not null check (every > interval '0'),
  maximum_duration    interval not null check (maximum_duration > interval '0'),
  maximum_concurrency int not null default 1 check (maximum_concurrency > 0)
);
comment on column maintenance_task.every is 'from one start to the next';
comment on column maintenance_task.maximum_concurrency is 'executions at the same time, on all hosts together';

-- clock_timestamp, not now(): a claim that waited has not started when its transaction did.
create table maintenance_task_execution (
  id                bigint generated always as identity primary key,
  task              text not null references maintenance_task on update cascade on delete cascade,
  host              text not null,
  state             text not null default 'running' check (state in ('running', 'succeeded', 'failed', 'terminated')),
  error             text,
  started_at        timestamptz not null default clock_timestamp(),
  last_seen_at      timestamptz not null default clock_timestamp(),
  ended_at          timestamptz,
  terminated_reason text,
  constraint running_until_it_ended   check ((state = 'running') = (ended_at is null)),
  constraint failed_with_an_error     check ((state = 'failed') = (error is not null)),
  constraint terminated_for_a_reason  check ((state = 'terminated') = (terminated_reason is not null)),
  constraint seen_after_it_started    check (last_seen_at >= started_at),
  constraint ended_after_it_started   check (ended_at >= started_at)
);
create index on maintenance_task_execution (task, started_at);
create index on maintenance_task_execution (host, task) where state = 'running';

create view due_task as
select task.name
  from maintenance_task as task
 where task.enabled
   and not exists (
         select from maintenance_task_execution as execution
          where execution.task = task.name and execution.started_at > clock_timestamp() - task.every)
   and task.maximum_concurrency > (
         select count(*) from maintenance_task_execution as execution
          where execution.task = task.name and execution.state = 'running');

-- One execution each of up to `most` due tasks, for this host.
create function claim_due(claiming_host text, most int) returns setof bigint
language plpgsql set search_path = maintenance as $$
declare
  locked text;
begin
  for locked in
    select task.name
      from maintenance_task as task
     where task.name in (select due_task.name from due_task)
     order by task.name
     limit most
       for update skip locked
  loop
    -- Looked at again with the lock held, in a statement of its own: it sees what the last holder committed. The statement
    -- above began before, and would let two hosts take the last place.
    return query
    insert into maintenance_task_execution (task, host)
    select due_task.name, claiming_host from due_task where due_task.name = locked
    returning id;
  end loop;
end $$;

-- This host is alive. Its executions that still count; others have been terminated meanwhile.
create function see(seen_host text) returns setof bigint
language sql set search_path = maintenance as $$
  update maintenance_task_execution
     set last_seen_at = clock_timestamp()
   where host = seen_host and state = 'running'
  returning id;
$$;

-- A host that is not seen any more has crashed: what it was doing no longer takes a place.
create function terminate_unseen(grace interval) returns table (id bigint, task text, reason text)
language sql set search_path = maintenance as $$
  update maintenance_task_execution as execution
     set state = 'terminated', ended_at = clock_timestamp(),
         terminated_reason = format('%s was not seen for %s s', host,
                                    round(extract(epoch from clock_timestamp() - last_seen_at)::numeric, 1))
   where state = 'running' and last_seen_at < clock_timestamp() - grace
  returning execution.id, execution.task, execution.terminated_reason;
$$;

-- True if it counts: an execution that was terminated stays terminated.
create function end_execution(ended bigint, to_state text, with_error text, with_reason text) returns boolean
language sql set search_path = maintenance as $$
  with ended as (
    update maintenance_task_execution
       set state = to_state, error = with_error, terminated_reason = with_reason, ended_at = clock_timestamp()
     where id = end_execution.ended and state = 'running'
    returning id)
  select exists (select from ended);
$$;

create view summary as
select task.name as task,
       count(*) filter (where execution.state = 'running')    as running,
       count(*) filter (where execution.state = 'succeeded')  as succeeded,
       count(*) filter (where execution.state = 'failed')     as failed,
       count(*) filter (where execution.state = 'terminated') as terminated,
       coalesce(max((
         select count(*) from maintenance_task_execution as other
          where other.task = task.name
            and other.started_at <= execution.started_at
            and coalesce(other.ended_at, 'infinity') > execution.started_at)), 0) as most_at_once,
       task.maximum_concurrency as allowed
  from maintenance_task as task
  left join maintenance_task_execution as execution on execution.task = task.name
 group by task.name
 order by task.name;
