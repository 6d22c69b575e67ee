-- The constraint of howdah.task, asked about each row that is written: so the common ones are let through by one expression.
-- It runs with the rights and the search_path of whoever writes, because to change them would take longer than the rest: so each
-- operator says where it is from.
create or replace function howdah.check_task(task howdah.task) returns boolean
language plpgsql immutable strict
as $$
begin
  if pg_catalog.num_nonnulls(task.key, task.late, task.start_before, task.finish_before, task.error, task.cancel_at) operator(pg_catalog.=) 0
     and (task.status operator(pg_catalog.=) 'queued' and task.worker is null and pg_catalog.isfinite(task.run_at)
          or task.status operator(pg_catalog.=) 'running' and pg_catalog.num_nulls(task.worker, task.claim_seq) operator(pg_catalog.=) 0)
     -- Both are 1 to 200 long, if their product is.
     and pg_catalog.length(task.kind) operator(pg_catalog.*) pg_catalog.length(task.queue) operator(pg_catalog.>=) 1
     and pg_catalog.length(task.kind) operator(pg_catalog.*) pg_catalog.length(task.queue) operator(pg_catalog.<=) 200
     and (task.attempt operator(pg_catalog.|) task.lost) operator(pg_catalog.>=) 0 then
    return true;
  end if;
  return howdah.examine_task(task);
end
$$;
comment on function howdah.check_task(howdah.task) is 'Whether a task can be one; else an error, see howdah.examine_task.';
