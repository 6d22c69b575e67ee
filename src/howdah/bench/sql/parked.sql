-- What failed: a figure of it would be a lie.
select count(*) as tasks, min(error) as error from howdah.task where queue like 'bench%' and status = 'failed';
